"""A message on its way into the spool: S0 -> S1 or S2.

The pair is written under ``.new/``, out of sight of every watcher. Once content, envelope and the
names in ``.new/`` are synced the message is committed: from there any opener of the spool completes
it, so the two renames that make it visible need no sync. With a log, its record there is synced
instead.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from functools import partial

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.journal import Entry
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.draft import Draft
from emailrelay.store.spool.disk import file_octets, files, locks, names, regular_files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.durable.draft_files import DraftFiles
from emailrelay.store.spool.durable.durability import Durability
from emailrelay.store.spool.durable.jobs import Finish
from emailrelay.store.spool.message.client_wait import Waiter
from emailrelay.store.spool.message.moves import name_duplicate, withdraw
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.message.waiting import Waiters

_WRITE_BACK = 8 * 1024 * 1024
"""Octets after which a large content's write-back starts, to shorten the commit."""


class SpoolDraft(Draft):
    """See ``Draft``."""

    def __init__(
        self,
        spool: Spool,
        envelope: Envelope,
        waiters: Waiters | None = None,
        message: QueueId | None = None,
    ) -> None:
        """Create both files."""
        self._waiters, self._given = waiters, message
        self._waiter: Waiter | None = None
        self._spool, self._fields = spool, envelope
        self._pair = self._create()
        self.id = self._pair.id
        self._begun = 0
        self._write_backs: list[Future[None]] = []
        self._open = True
        self._secured = self._withdrawn = False

    def _create(self) -> DraftFiles:
        directory = self._spool.directories.drafts
        # The id of a given message names another process.
        locked = self._given is not None or not self._spool.writer.is_shown()
        recorded = self._spool.durability.new_mail.records
        try:
            try:
                return DraftFiles(directory, self._next_id, locked=locked, recorded=recorded)
            except FileNotFoundError:  # the whole directory was removed, and may be there again
                self._spool.make_directories()
                return DraftFiles(directory, self._next_id)
        except OSError as error:
            raise StoreError(f"create a message in {directory}", error) from error

    def _next_id(self) -> QueueId:
        return self._given or self._spool.ids.next(self._spool.clock())

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft.write``. The page cache takes it: no thread, no sync."""
        try:
            self._pair.write(chunk)
        except OSError as error:
            raise StoreError(f"write {self._pair.content_path}", error) from error
        if self._pair.length - self._begun >= _WRITE_BACK:
            self._begun = self._pair.length
            self._write_backs.append(self._spool.syncer.begin(self._pair.content))
        return True

    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """See ``Draft.commit``."""
        ack = ack.at(stage)
        accepted = Accepted(
            at=self._spool.clock(),
            stage=stage,
            length=self._pair.length,
            crc32=self._pair.crc32,
            ack=ack,
            session=session,
            dsn=dsn,
        )
        try:
            self._pair.seal(self._fields, accepted)
            if ack is Ack.DELIVERED:
                self._pair.mark_not_vouched_for()
            if ack is not Ack.STORED and self._waiters is not None:
                self._waiter = self._waiters.expect(self.id, ack)
        except OSError as error:
            raise StoreError(f"write {self._pair.envelope_path}", error) from error
        try:
            self._open = False  # from here it is committed or removed
            if ack is not Ack.DELIVERED:
                await self._make_durable(stage, partial(self._finish, stage))
                self._spool.announcer.send_gathered()
            elif self._write_backs:
                # Each may take long, so the syncing thread waits for it.
                await self._spool.syncer.run((), (), partial(self._finish, stage), blocks=True)
            else:
                self._finish(stage, None)
        except OSError as error:
            if self._waiters is not None:
                self._waiters.end(self.id)
            self._waiter = None
            raise StoreError(f"commit {self._pair.envelope_path}", error) from error

    async def secure(self, stage: Stage) -> None:
        """Make the message durable but not yet visible: ``show`` or ``withdraw`` follows.

        If this process dies before, the message becomes visible. A cancelled call leaves nothing.

        Raises:
            StoreError: see ``Draft.commit``.

        """
        accepted = Accepted(
            at=self._spool.clock(), stage=stage, length=self._pair.length, crc32=self._pair.crc32
        )
        try:
            self._pair.seal(self._fields, accepted)
            await self._make_durable(stage, partial(self._secure, stage))
        except OSError as error:
            raise StoreError(f"commit {self._pair.envelope_path}", error) from error
        except asyncio.CancelledError:
            self.withdraw()
            raise

    def _secure(self, stage: Stage, error: OSError | None) -> None:
        self._finish(stage, error, shows=False)
        self._secured = True
        if self._withdrawn:
            self._leave_nothing()

    def show(self, stage: Stage) -> None:
        """Make a secured message visible; if that raises OSError, ``complete`` can do the rest."""
        try:
            self._pair.show(self._spool.root, stage)
        finally:
            self._pair.close()
        self._spool.announcer.announce(stage, self.id)

    def withdraw(self) -> None:
        """Remove a message that is secured, or is being secured. Raises nothing."""
        self._withdrawn = True
        if self._secured:
            self._leave_nothing()

    def show_unsynced(self, accepted: Accepted) -> None:
        """Make the message visible at once, for a client whose wait has begun already.

        Raises:
            StoreError: see ``Draft.commit``.

        """
        try:
            self._pair.seal(self._fields, accepted)
            self._pair.mark_not_vouched_for()
            self._open = False
            self._finish(accepted.stage, None)
        except OSError as error:
            raise StoreError(f"write {self._pair.envelope_path}", error) from error

    async def take_over(self, entries: Sequence[Entry]) -> None:
        """Make the message durable and visible at HELD, with its journal of another store.

        Raises:
            StoreError: see ``Draft.commit``.

        """
        try:
            self._pair.seal_with(self._fields, b"".join(map(journal_format.write, entries)))
            await self._make_durable(Stage.HELD, partial(self._finish, Stage.HELD))
        except OSError as error:
            raise StoreError(f"take over {self._pair.envelope_path}", error) from error

    def _make_durable(self, stage: Stage, finish: Finish) -> Awaitable[None]:
        """Commit the sealed pair. From here it is committed or removed."""
        self._open = False
        return self._durability.commit(self._pair, stage, finish, blocks=bool(self._write_backs))

    @property
    def _durability(self) -> Durability:
        return self._spool.durability.new_mail.for_content(self._pair.length)

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """See ``Draft.answer``."""
        if self._waiter is None:
            return None
        try:
            return await self._waiter.answer(within, gone)
        finally:
            self._stop_waiting(self._waiter)

    def _stop_waiting(self, waiter: Waiter) -> None:
        self._waiter = None
        stop_waiting(self._spool, self._waiters, self.id, waiter)

    def _finish(self, stage: Stage, error: OSError | None, *, shows: bool = True) -> None:
        """Make the committed message visible, if it is to be shown, or leave nothing of it."""
        try:
            for write_back in self._write_backs:
                write_back.result()  # the kernel reports a failed write-back once, perhaps here
            if error is not None:
                raise error
            # A turn of the loop checks once for all of its messages; a thread checks for each.
            if self._write_backs or not self._spool.at_its_path.passed:
                self._check_spool()
            if not shows:
                return
            self._pair.show(self._spool.root, stage)
        except OSError:
            # After a failed sync the log has noted it already, if that disk allows it.
            self._leave_nothing(wait=error is None)
            raise
        finally:
            if shows:
                self._pair.close()
        self._spool.announcer.announce(stage, self.id)

    def _leave_nothing(self, *, wait: bool = True) -> None:
        """Remove a committed draft that is not to be a message."""
        self._durability.forget(self.id, wait=wait)
        self._remove()
        try:
            files.remove(self._spool.content(self.id))
        except OSError as error:  # a sweep removes a content without an envelope
            self._spool.trouble(f"remove the content of {self.id}", error)
        self._pair.close()

    def _check_spool(self) -> None:
        """Refuse a message in a moved spool; the next draft uses the directory at the path."""
        try:
            self._durability.check(self._spool.root)
        except OSError:
            self._spool.make_directories()
            raise
        self._spool.at_its_path.note()

    async def discard(self) -> None:
        """See ``Draft.discard``."""
        self.abandon()
        if self._waiter is not None:
            self._stop_waiting(self._waiter)

    def abandon(self) -> None:
        """Remove the files of a draft that was not committed."""
        if self._open:
            self._open = False
            for write_back in self._write_backs:
                write_back.cancel()
            self._remove()
            self._pair.close()

    def _remove(self) -> None:
        try:
            self._pair.remove()
        except OSError as error:
            self._spool.trouble(f"remove {self._pair.envelope_path}", error)


def stop_waiting(spool: Spool, waiters: Waiters | None, message: QueueId, waiter: Waiter) -> None:
    """End a client's wait; withdraw a message that was to be delivered and has no answer."""
    try:
        gave_up = waiter.give_up() is None
        if waiters is not None:
            waiters.end(message)
        if gave_up and waiter.ack is Ack.DELIVERED:
            if waiter.doubt:
                name_duplicate(spool, message, waiter.doubt)
            withdraw(spool, message)
    except OSError as error:
        spool.trouble(f"stop waiting for {message}", error)


def complete(spool: Spool, message: QueueId) -> Stage | None:
    """Do ``roll_forward`` with a draft that has no lock; None if there is none."""
    with locks.held(spool.directories.drafts / names.draft_envelope(message)) as envelope:
        return None if envelope is None else roll_forward(spool, message, envelope)


def roll_forward(spool: Spool, message: QueueId, envelope: int) -> Stage | None:
    """Complete the draft of a dead writer, or remove one that is not whole; its envelope is locked.

    Returns the stage where the message now is, or None for an incomplete draft.
    """
    drafted = spool.directories.drafts / names.content(message)
    envelope_path = spool.directories.drafts / names.draft_envelope(message)
    owner = os.fstat(envelope).st_uid
    if is_taken(spool, message, owner) or is_taken(spool, message, owner):  # see ``_is_alone``
        files.remove(drafted)
        files.remove(envelope_path)
        return None
    stage = _complete(file_octets.read_all(envelope), (drafted, spool.content(message)))
    if stage is None:
        files.remove(drafted)
        files.remove(spool.content(message))
        files.remove(envelope_path)
        return None
    if files.exists(drafted):
        files.rename(drafted, spool.content(message))
    files.rename(envelope_path, spool.envelope(message, stage))
    spool.announcer.announce(stage, message)
    return stage


def is_taken(spool: Spool, message: QueueId, owner: int) -> bool:
    """Tell if a draft of this owner has the id of a message, in a spool that others may attack.

    In a sticky spool members of the group can make a draft for a message of another user, and an
    envelope for a draft of another user.
    """
    if not spool.root.in_sticky_spool():
        return False
    trusted = {owner, spool.user, 0}
    for name in names.envelopes(message):
        with contextlib.suppress(FileNotFoundError):
            if files.status_of(spool.root / name).st_uid in trusted:
                return True
    return False


def _complete(envelope: bytes, contents: tuple[Location, Location]) -> Stage | None:
    """Return the stage of a whole draft, with its content under either name; else None."""
    try:
        history = journal_format.history(envelope_format.parse(envelope).tail)
    except DamagedMessage:
        return None
    accepted = history.length, history.crc32
    if not any(found == accepted for found in map(regular_files.measured, contents)):
        return None
    return history.stage if history.moving is None else Stage.HELD
