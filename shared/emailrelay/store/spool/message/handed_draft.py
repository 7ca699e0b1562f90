"""A message whose client waits for the delivery, in memory: a forwarder gets it over a connection.

Nothing has to be written for it: the client has no 250, and sends it again after a crash. It
becomes files if it is large, or if no forwarder takes it, gives it back or dies.
"""

import asyncio
import zlib

from emailrelay import acceptance, envelope_format
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.draft import Draft
from emailrelay.store.spool.message.client_wait import Waiter
from emailrelay.store.spool.message.draft import SpoolDraft, stop_waiting
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.message.waiting import Waiters
from emailrelay.store.spool.wake.handing import Link
from emailrelay.store.spool.wake.package import LARGEST_CONTENT, Package, fits

_NOT_NOW = Reply(451, "4.3.0 cannot take mail right now")


class HandedDraft(Draft):
    """See ``Draft``."""

    def __init__(self, spool: Spool, envelope: Envelope, waiters: Waiters) -> None:
        """Touch nothing."""
        self._spool, self._fields, self._waiters = spool, envelope, waiters
        self.id = spool.ids.next(spool.clock())
        self._content = b""
        self._files: SpoolDraft | None = None
        """The draft that it has become."""
        self._link: Link | None = None
        self._waiter: Waiter | None = None

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft.write``."""
        if self._files is None and len(self._content) + len(chunk) <= LARGEST_CONTENT:
            self._content += chunk
            return True
        return self._as_files().write(chunk)

    def _as_files(self) -> SpoolDraft:
        """Become a draft in files.

        Raises:
            StoreError: see ``Draft.write``.

        """
        if self._files is None:
            self._files = SpoolDraft(self._spool, self._fields, self._waiters, self.id)
            self._files.write(self._content)
        return self._files

    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """See ``Draft.commit``. What is handed over is visible to that forwarder alone."""
        if self._files is None and ack is Ack.DELIVERED and stage is Stage.READY:
            accepted = Accepted(
                at=self._spool.clock(),
                stage=stage,
                length=len(self._content),
                crc32=zlib.crc32(self._content),
                ack=ack,
                session=session,
                dsn=dsn,
            )
            if self._hand_over(accepted):
                return
        await self._as_files().commit(stage, ack, session, dsn)

    def _hand_over(self, accepted: Accepted) -> bool:
        """Hand the message to a forwarder; False: it must become files."""
        envelope = envelope_format.write(self._fields) + acceptance.write(accepted)
        link = self._waiters.links.free()
        if link is None or not fits(envelope, self._content):
            return False
        try:
            self._waiter = self._waiters.expect(self.id, accepted.ack)
        except OSError as error:
            raise StoreError(f"wait for {self.id}", error) from error
        self._link = link
        link.hand(Package(self.id, envelope, self._content), lambda: self._back(accepted))
        return True

    def _back(self, accepted: Accepted) -> None:
        """Make files for any forwarder: the one that had the message does not deliver it."""
        waiter, self._link = self._waiter, None
        if waiter is None:
            return
        try:
            # A forwarder that died may have answered, or have stored it before.
            if waiter.has_answer() or self._spool.stage_of(self.id) is not None:
                return
            files = SpoolDraft(self._spool, self._fields, None, self.id)
            try:
                files.write(self._content)
                files.show_unsynced(accepted)
            finally:
                files.abandon()
        except (OSError, StoreError) as error:
            self._spool.trouble(f"store {self.id}", error)
            waiter.told(str(_NOT_NOW))

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """See ``Draft.answer``."""
        if self._files is not None:
            return await self._files.answer(within, gone)
        if self._waiter is None:
            return None
        try:
            return await self._waiter.answer(within, gone)
        finally:
            self._stop_waiting(self._waiter)

    async def discard(self) -> None:
        """See ``Draft.discard``."""
        if self._files is not None:
            await self._files.discard()
        if self._waiter is not None:
            self._stop_waiting(self._waiter)

    def _stop_waiting(self, waiter: Waiter) -> None:
        self._waiter = None
        stop_waiting(self._spool, self._waiters, self.id, waiter)
        if self._link is not None:
            self._link.forget(self.id)
