"""Clients that wait for the answer to their message (``ack`` other than ``stored``).

The commit inserts a row into ``awaited``. A worker answers by an UPDATE of a row without a reply. A
receiver gives up by a DELETE of a row without one. The database lets exactly one succeed. A
receiver renews its rows; after ``WAIT`` seconds without renewal it counts as dead.
"""

import asyncio
import contextlib
from typing import cast
from uuid import UUID

from emailrelay.ack import Ack
from emailrelay.errors import RelayError
from emailrelay.events.delivery import Withdrawn
from emailrelay.events.store import PossibleDuplicate
from emailrelay.journal import Doubted
from emailrelay.message_end import MessageEnd
from emailrelay.queue_uuid import from_uuid
from emailrelay.reply import Reply
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message import past
from emailrelay.store.postgres.message.committing import WAIT
from emailrelay.store.postgres.message.row import COLUMNS, Row, lines, read
from emailrelay.store.transition import Change

_UNKNOWN = Reply(451, "4.3.0 it is not known what has become of the message, try again later")
_SHORTEST, _LONGEST, _GROWTH = 0.01, 0.5, 1.5
_ANSWERS = "select id, reply from emailrelay.awaited where id = any(%(ids)s) and reply is not null"
_RENEW = """
update emailrelay.awaited set wait_until = statement_timestamp() + make_interval(secs => %(wait)s)
where id = any(%(ids)s)
"""
_GIVE_UP = "delete from emailrelay.awaited where id = %(id)s and reply is null returning ack, dot"
_TAKE = "delete from emailrelay.awaited where id = %(id)s returning reply"
# DELIVERED mail that no client waits for goes, unless a worker has it: its claim sees to it then.
_WITHDRAW = f"""
delete from emailrelay.message m where m.id = %(id)s
and (m.lease_until is null or m.lease_until <= statement_timestamp()) returning {COLUMNS}
"""
_DOUBTED = "update emailrelay.message set journal = journal || %(lines)s where id = %(id)s"
_BODY = "delete from emailrelay.body where message = %(id)s"
# A commit that arrives late does not bring the message back.
_LEFT = """
insert into emailrelay.history (id, ended_at, how)
values (%(id)s, statement_timestamp(), 'withdrawn')
"""


class ClientWaits:
    """All clients that wait in this process, and one task that looks for their answers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[UUID, asyncio.Future[Reply]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._soon = asyncio.Event()

    def expect(self, message: UUID) -> None:
        """Look for an answer to a message from now on."""
        self._waiting[message] = asyncio.get_running_loop().create_future()
        self._soon.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    def forget(self, message: UUID) -> None:
        """Look no more: there is no such message."""
        self._waiting.pop(message, None)

    def answered_here(self, message: UUID) -> None:
        """Look soon: a worker of this process has answered."""
        if message in self._waiting:
            self._soon.set()

    async def answer(
        self, message: UUID, within: float, gone: asyncio.Future[None] | None
    ) -> Reply | None:
        """Wait for an answer; if none has come in ``within`` seconds or once ``gone``, give up."""
        reply = self._waiting[message]
        waiting = (reply,) if gone is None else (reply, gone)
        try:
            await asyncio.wait(waiting, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.give_up(message)
            raise
        return await self.give_up(message)

    async def give_up(self, message: UUID) -> Reply | None:
        """Take the wait back; return the reply if one is there already."""
        known = self._waiting.pop(message, None)
        withdrawn, dot = False, ""
        try:
            async with self._database.connections.transact("give up waiting") as connection:
                parameters = {"id": message}
                given_up = await connection.execute(_GIVE_UP, parameters)
                found = await given_up.fetchone()
                if found is None:
                    taken = await connection.execute(_TAKE, parameters)
                    answered = await taken.fetchone()
                    return Reply.parse(str(answered[0])) if answered else None
                ack, dot = map(str, found)
                if ack == Ack.DELIVERED:
                    removed = await connection.execute(_WITHDRAW.encode(), parameters)
                    row = await removed.fetchone()
                    withdrawn = row is not None
                    if row is not None:
                        dot = await self._leave(connection, read(row), dot)
                if dot and not withdrawn:
                    doubted = lines([Doubted(at=self._database.clock(), peer=dot)])
                    await connection.execute(_DOUBTED, {**parameters, "lines": doubted})
        except RelayError as error:  # the wait ends by itself, after WAIT seconds
            self._database.trouble("give up waiting", error)
            if known is not None and known.done() and not known.cancelled():
                return known.result()
            # A worker may have answered, or may do so before that: the client gets no 250, as the
            # answer may be a refusal, and is to send the message again.
            self._database.report(PossibleDuplicate(id=from_uuid(message), peer="unknown"))
            return _UNKNOWN
        if withdrawn:
            self._database.report(Withdrawn(id=from_uuid(message)))
        if dot:
            self._database.report(PossibleDuplicate(id=from_uuid(message), peer=dot))
        return None

    async def _leave(self, connection: DatabaseConnection, row: Row, dot: str) -> str:
        """Finish the removal of a row; return the server that may have the message, or nothing.

        Its forwarder may have died after the final dot.
        """
        await connection.execute(_BODY, {"id": row.uuid})
        await connection.execute(_LEFT, {"id": row.uuid})
        now, peer = self._database.clock(), dot or row.doubt or ""
        doubts = (Doubted(at=now, peer=peer),) if peer else ()
        gone = Change(doubts, None, end=MessageEnd.WITHDRAWN)
        await past.add(self._database, connection, [past.of_row(row, gone, now)])
        return peer

    async def _look(self) -> None:
        """Look for answers, often at first, and renew the waits."""
        loop = asyncio.get_running_loop()
        pause, renewed = _SHORTEST, loop.time()
        while self._waiting:
            self._soon.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._soon.wait()
                    pause = _SHORTEST
            renew = loop.time() - renewed > WAIT / 3
            try:
                found = await self._answers(renew=renew)
            except RelayError as error:
                self._database.refused("look for answers", error)
                pause = _LONGEST
                continue
            renewed = loop.time() if renew else renewed
            for message, reply in found:
                waiter = self._waiting.get(message)
                if waiter is not None and not waiter.done():
                    waiter.set_result(reply)
            pause = _SHORTEST if found else min(pause * _GROWTH, _LONGEST)

    async def _answers(self, *, renew: bool) -> list[tuple[UUID, Reply]]:
        open_waits = [message for message, reply in self._waiting.items() if not reply.done()]
        if not open_waits:
            return []
        async with self._database.connections.lend("look for answers") as connection:
            if renew:
                await connection.execute(_RENEW, {"ids": open_waits, "wait": WAIT})
            cursor = await connection.execute(_ANSWERS, {"ids": open_waits})
            rows = await cursor.fetchall()
        return [(cast("UUID", found), Reply.parse(str(reply))) for found, reply in rows]

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))
