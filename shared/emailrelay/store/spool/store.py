"""The spool directory as a store: async methods over its plain parts."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Self

# Not used here: it is imported before workers are forked, which share it then.
import filelock as _filelock  # noqa: F401  # pyright: ignore[reportUnusedImport]

from emailrelay import envelope_format, journal_format
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, as_store_error
from emailrelay.events.event import Report
from emailrelay.journal import AdministratorWish, Entry
from emailrelay.queue_id import QueueId
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.base import Listed, Store
from emailrelay.store.claim import Claim
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.spool.disk import directory_check, files, names, regular_files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.spool.feed.feed import SharedHints, SpoolFeed, dispatch
from emailrelay.store.spool.feed.hints import WatchedHints
from emailrelay.store.spool.history.spool_history import SpoolHistory
from emailrelay.store.spool.marks import entrance
from emailrelay.store.spool.marks.limits import SpoolLimits
from emailrelay.store.spool.message import moves, rewriting, taken_over, wishes
from emailrelay.store.spool.message.claim import SpoolClaim
from emailrelay.store.spool.message.claiming import take
from emailrelay.store.spool.message.draft import SpoolDraft
from emailrelay.store.spool.message.failure import SpoolFailure, take_failure
from emailrelay.store.spool.message.handed_draft import HandedDraft
from emailrelay.store.spool.message.spool import Spool, open_spool
from emailrelay.store.spool.message.waiting import Waiters
from emailrelay.store.spool.opening.presence import Presence
from emailrelay.store.spool.opening.recovery import Recovery
from emailrelay.store.spool.verify import SpoolVerification

_PATIENCE = 0.3
"""Seconds that the opening waits for the first recovery sweep, which goes on in the background."""
_PER_TURN = 1000
"""Names listed before other tasks get a turn."""


class SpoolStore(Store):
    """See ``Store``."""

    def __init__(
        self,
        root: Path,
        *,
        report: Report,
        clock: Callable[[], float] = time.time,
        sync: SpoolSync = SpoolSync.FILES,
        looking: bool = False,
        submitting: bool = False,
    ) -> None:
        """Use the directory ``root``; nothing is touched before the block is entered.

        ``looking``: see ``chooser.open_store``. With ``submitting`` only ``draft`` is of use, for
        mail that no client waits for, and nothing else is touched.
        """
        self._root, self._report, self._clock, self._sync = root, report, clock, sync
        self._looking, self._submitting = looking, submitting
        self._presence: Presence | None = None
        self._opened: Spool | None = None
        self._waiters: Waiters | None = None
        self._watched: dict[Stage, WatchedHints] = {}
        """The latest index of each stage that this process keeps."""
        self._recovery: Recovery | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def _spool(self) -> Spool:
        if self._opened is None:
            raise RuntimeError("the store is used outside its block")
        return self._opened

    async def __aenter__(self) -> Self:
        """See ``Store``."""
        makes = not (self._looking or self._submitting)
        spool = open_spool(self._root, self._report, self._clock, sync=self._sync, makes=makes)
        if not makes:
            return self._open_only(spool)
        presence = Presence(spool)
        try:
            spool.root.renew()
            spool.make_directories()
            directory_check.check(self._root)
            for path, mode in directory_check.open_to_members(self._root).items():
                reason = f"members of the group can work in it; run: chmod {mode:o} {path}"
                spool.trouble("protect a directory", reason)
            await in_thread(presence.enter)
            if self._sync is SpoolSync.LOG:
                spool.log.begin()
        except BaseException as error:
            _leave(spool, presence)
            if isinstance(error, OSError):
                raise directory_check.trouble(self._root, error) from error
            raise
        self._presence = presence
        spool.announcer.serve(asyncio.get_running_loop())
        self._opened, self._waiters = spool, Waiters(spool)
        self._recovery = Recovery(spool)
        self._sweeping = asyncio.create_task(asyncio.to_thread(self._recovery.begin))
        done, _ = await asyncio.wait((self._sweeping,), timeout=_PATIENCE)
        try:
            for sweep in done:
                sweep.result()
        except BaseException:
            self._opened = None
            _leave(spool, presence)
            raise
        return self

    def _open_only(self, spool: Spool) -> Self:
        try:
            spool.root.renew()
            directory_check.check(self._root)
        except BaseException as error:
            spool.announcer.close()
            spool.close()
            if isinstance(error, OSError):
                raise directory_check.trouble(self._root, error) from error
            raise
        if self._submitting:
            spool.announcer.serve(asyncio.get_running_loop())
        self._opened = spool
        return self

    async def __aexit__(self, *_: object) -> None:
        """See ``Store``."""
        spool, self._opened = self._spool, None
        if self._recovery is not None and self._sweeping is not None:
            self._recovery.over = True
            await self._sweeping
        if self._waiters is not None:
            self._waiters.close()
        await spool.syncer.close()
        spool.final_dots.close()
        spool.writer.close()
        spool.announcer.close()
        if self._presence is not None:
            await in_thread(self._presence.leave)
        spool.close()

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> SpoolDraft:
        """See ``Store.draft``."""
        return SpoolDraft(self._spool, envelope, self._waiters, message)

    def draft_for_delivery(self, envelope: Envelope) -> SpoolDraft | HandedDraft:
        """See ``Store.draft_for_delivery``."""
        if self._waiters is None or self._waiters.links.free() is None:
            return self.draft(envelope)
        return HandedDraft(self._spool, envelope, self._waiters)

    async def adopt(
        self,
        message: QueueId,
        envelope: Envelope,
        entries: Sequence[Entry],
        content: AsyncIterator[bytes],
        *,
        once: bool = False,  # noqa: ARG002 - a spool forgets messages that leave
    ) -> None:
        """See ``Store.adopt``."""
        spool = self._spool
        there = any(files.is_there(spool.envelope(message, stage)) for stage in Stage)
        if not there:
            async with self.draft(envelope, message) as draft:
                async for chunk in content:
                    if not draft.write(chunk):
                        await draft.drain()
                await draft.take_over(entries)
        if not there or files.is_there(spool.envelope(message, Stage.HELD)):
            with as_store_error(f"take over {message}"):
                await taken_over.record(spool, message, synced=not there)

    def free(self) -> int | None:
        """See ``Store.free``."""
        try:
            status = os.statvfs(self._spool.root.fileno())
        except OSError:
            return None
        return status.f_bavail * status.f_frsize

    def limits(self, route: str) -> SpoolLimits:
        """See ``Store.limits``."""
        return SpoolLimits(self._spool.root, route, self._clock)

    async def set_entrance(self, stage: Stage) -> None:
        """See ``Store.set_entrance``."""
        with as_store_error(f"note in {self._root} whether filters come first"):
            entrance.put(self._spool.root, stage)

    async def entrance(self) -> Stage:
        """See ``Store.entrance``."""
        return entrance.get(self._spool.root)

    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> SpoolFeed:
        """See ``Store.feed``."""
        spool = self._spool
        if hints is None:
            return SpoolFeed(spool, stage, self._watch(stage))
        return SpoolFeed(spool, stage, SharedHints(spool, stage, hints))

    async def dispatch(self, stage: Stage, hints: HintChannel, woken: asyncio.Event) -> None:
        """See ``Store.dispatch``."""
        await dispatch(self._watch(stage), hints, woken)

    def _watch(self, stage: Stage) -> WatchedHints:
        found = self._watched[stage] = WatchedHints(self._spool, stage)
        return found

    async def claim(self, stage: Stage, message: QueueId, *, due_only: bool = True) -> Claim | None:
        """See ``Store.claim``."""
        claim = take(self._spool, stage, message, due_only=due_only)
        return claim if isinstance(claim, SpoolClaim) else None

    async def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """See ``Store.listing``."""
        root = self._spool.root
        with as_store_error(f"list {root}"), files.scanned(root) as entries:
            for count, item in enumerate(entries, 1):
                entry = names.parse(item.name)
                if entry is not None and entry.stage in stages:
                    listed = self._listed(item, entry)
                    if listed is not None:
                        yield listed
                if count % _PER_TURN == 0:
                    await asyncio.sleep(0)

    def waiting(self, stage: Stage) -> int | None:
        """See ``Store.waiting``; another process may have watched a message leave."""
        watched = self._watched.get(stage)
        return None if watched is None else watched.waiting

    async def journal(self, message: QueueId) -> tuple[Stage, Envelope, list[Entry]] | None:
        """See ``Store.journal``."""
        for stage in Stage:
            path = self._spool.envelope(message, stage)
            try:
                octets = regular_files.read_present(path)
            except regular_files.NoRegularFileError as error:
                raise DamagedMessage("envelope: no regular file") from error
            except OSError as error:  # it must not hide the other messages
                raise DamagedMessage(f"envelope: cannot be read: {error.strerror}") from error
            if octets is None:
                continue
            file = envelope_format.parse(octets)
            return stage, file.envelope, journal_format.parse(file.tail)
        return None

    def _listed(self, item: "os.DirEntry[str]", entry: names.EnvelopeName) -> Listed | None:
        """Return a message as a listing shows it; None: it was moved or removed."""
        try:
            since = item.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return None
        size = _size(self._spool.content(entry.id))
        return Listed(id=entry.id, stage=entry.stage, since=since, size=size)

    async def flush(self, message: QueueId) -> bool:
        """See ``Store.flush``. A claimed message is being tried already."""
        for stage in (Stage.UNFILTERED, Stage.READY):
            with as_store_error(f"flush {self._spool.envelope(message, stage)}"):
                locked = moves.lock(self._spool, message, stage)
                if locked is not None:
                    with locked:
                        rewriting.prepare(locked)
                        return moves.flush(locked)
        return False

    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """See ``Store.wish``."""
        return await wishes.wish(self._spool, message, wish)

    async def failure(self, message: QueueId) -> SpoolFailure | None:
        """See ``Store.failure``. What dead notifiers left is finished before."""
        if self._sweeping is not None:
            await self._sweeping
        return take_failure(self._spool, message)

    def history(self) -> SpoolHistory:
        """See ``Store.history``."""
        return SpoolHistory(self._spool.history)

    def verification(self, *, contents: bool) -> SpoolVerification:
        """See ``Store.verification``."""
        return SpoolVerification(self._spool.root, self, contents=contents)


def _leave(spool: Spool, presence: Presence) -> None:
    """Close all of a spool that could not be opened."""
    presence.close()
    spool.announcer.close()
    spool.close()


def _size(content: Location) -> int:
    try:
        return files.status_of(content).st_size
    except FileNotFoundError:
        return 0
