"""What any opener of the spool does for the dead: drafts, copies, doubts, and the old program's claims.

Only what a free lock proves to be dead is touched, and nothing of another program is deleted.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from emailrelay import journal
from emailrelay.errors import RelayError
from emailrelay.events import PossibleDuplicate, Recovered
from emailrelay.queue_id import QueueId, to_uuid
from emailrelay.stage import Stage
from emailrelay.store.spool import adoption, doubt, draft, files, names, notice
from emailrelay.store.spool.moves import Locked, remove
from emailrelay.store.spool.spool import Spool

_BUSY_IS_OLD = 600.0
"""Seconds after which an unlocked ``.busy`` envelope of the old program is taken over."""
_ORPHAN_IS_SURE = 3600.0
"""Seconds between the two looks that make a content without any envelope an orphan."""


@dataclass(slots=True)
class Recovery:
    """The sweep of one spool, repeated now and then."""

    spool: Spool
    _orphans: dict[QueueId, float] = field(default_factory=dict[QueueId, float])

    def sweep(self) -> None:
        """Finish or take back what dead processes had begun. Blocks; for a thread."""
        steps = (
            self._drafts,
            self._copies,
            self._doubts,
            self._waiters,
            self._notices,
            self._names,
        )
        for step in steps:
            try:
                step()
            except (OSError, RelayError) as error:
                self.spool.trouble("recover", error)

    def _drafts(self) -> None:
        """S0: a complete draft whose writer is dead goes forward, an incomplete one goes."""
        spool = self.spool
        for name in sorted(os.listdir(spool.path(names.DRAFTS))):
            path = spool.path(names.DRAFTS, name)
            entry, orphan = names.parse(name), names.parse_content(name)
            if entry is not None:
                envelope = files.lock_named(path)
                if envelope is None:
                    continue
                begun = os.path.exists(spool.path(names.DRAFTS, names.content(entry.id)))
                try:
                    stage = draft.roll_forward(spool, entry.id, envelope)
                finally:
                    files.unlock_and_close(envelope)
                if stage is not None:
                    spool.report(Recovered(id=entry.id, what=f"draft completed: {stage}"))
                elif begun:  # one that was only just being made is begun anew: nothing to tell
                    spool.report(Recovered(id=entry.id, what="unfinished draft removed"))
            elif orphan is not None and not os.path.exists(
                spool.path(names.DRAFTS, names.draft_envelope(orphan))
            ):
                # An envelope is made before its content and leaves after it, so this one's writer is
                # gone; had it left just now, the content has left under this name too.
                files.remove(path)

    def _copies(self) -> None:
        """W: the copy of a message that nobody is filtering is of no use; W+ waits for its claim."""
        spool = self.spool
        for name in os.listdir(spool.path(names.WORK)):
            message = QueueId(name.rpartition(".")[0])
            path = spool.path(names.WORK, name)
            adopted = name == names.adopted_copy(message)
            if adopted and _exists_at_all(spool, message) and not adoption.is_done(spool, message):
                continue
            if not any(_is_claimed(spool.envelope(message, stage)) for stage in Stage):
                shutil.rmtree(path, ignore_errors=True)

    def _doubts(self) -> None:
        """Deal with the messages that forwarders had at their final dot, or beyond, when they died."""
        for left in doubt.left_behind(self.spool.path(names.DOUBT)):
            if not left.delivered or not self._removed(left.message):
                self._name_duplicate(left.message, left.peer)

    def _name_duplicate(self, message: QueueId, peer: str) -> None:
        """Name a message that may be sent twice, in its journal if that can be had.

        One that is gone or claimed again is named too: another process was quicker, and sent it.
        """
        spool = self.spool
        envelope = files.lock_named(spool.envelope(message, Stage.READY))
        if envelope is not None:
            locked = Locked(spool, message, Stage.READY, envelope)
            try:
                locked.append(journal.write(journal.Doubted(at=spool.clock(), peer=peer)))
            finally:
                locked.release()
        spool.report(PossibleDuplicate(id=message, peer=peer))

    def _removed(self, message: QueueId) -> bool:
        """Finish the removal of a delivered message; False if another process has it by now."""
        spool = self.spool
        envelope = files.lock_named(spool.envelope(message, Stage.READY))
        if envelope is not None:
            locked = Locked(spool, message, Stage.READY, envelope)
            try:
                remove(locked)
            finally:
                locked.release()
        elif _exists_at_all(spool, message):
            return False
        elif os.path.exists(spool.content(message)):
            files.remove(spool.content(message))
        else:
            return True
        spool.report(Recovered(id=message, what="removal of a delivered message finished"))
        return True

    def _waiters(self) -> None:
        """Remove the waits (A) of dead receivers; the message's next claim knows what that means."""
        for name in os.listdir(self.spool.path(names.WAITING)):
            path = self.spool.path(names.WAITING, name)
            waiter = files.lock_named(path)
            if waiter is not None:
                files.remove(path)
                files.unlock_and_close(waiter)

    def _notices(self) -> None:
        """N: a notice that the journal knows goes on, another is made anew by the next notifier."""
        notice.sweep(self.spool)

    def _names(self) -> None:
        """Take over the old program's abandoned claims; remove our contents that have no envelope."""
        contents: set[QueueId] = set()
        envelopes: set[QueueId] = set()
        for name in _listed(self.spool.root):
            entry, content = names.parse(name), names.parse_content(name)
            busy = names.parse_busy(name)
            if busy is not None:
                self._take_over(busy)
            elif entry is not None:
                envelopes.add(entry.id)
            elif content is not None and _is_ours(content):
                contents.add(content)
        self._remove_orphans(contents - envelopes)

    def _take_over(self, message: QueueId) -> None:
        spool = self.spool
        path = spool.path(names.busy_envelope(message))
        envelope = files.lock_named(path)
        if envelope is None:
            return
        try:
            if spool.clock() - os.fstat(envelope).st_mtime < _BUSY_IS_OLD:
                return
            os.rename(path, spool.envelope(message, Stage.READY))
        finally:
            files.unlock_and_close(envelope)
        spool.report(PossibleDuplicate(id=message, peer="unknown"))
        spool.bell.ring(Stage.READY, message)

    def _remove_orphans(self, candidates: set[QueueId]) -> None:
        # A listing can miss a name that is being renamed: only stat, twice, an hour apart, is proof.
        now = time.monotonic()
        sure = {m: t for m, t in self._orphans.items() if m in candidates}
        self._orphans = {
            m: sure.get(m, now) for m in candidates if not _exists_at_all(self.spool, m)
        }
        for message, since in list(self._orphans.items()):
            if now - since >= _ORPHAN_IS_SURE:
                files.remove(self.spool.content(message))
                del self._orphans[message]
                self.spool.report(Recovered(id=message, what="content without envelope removed"))


def _is_claimed(envelope: str) -> bool:
    """Tell whether somebody has locked an envelope that is there."""
    descriptor = files.lock_named(envelope)
    if descriptor is None:
        return os.path.lexists(envelope)
    files.unlock_and_close(descriptor)
    return False


def _exists_at_all(spool: Spool, message: QueueId) -> bool:
    return any(os.path.lexists(spool.envelope(message, stage)) for stage in Stage)


def _listed(directory: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry.name


def _is_ours(message: QueueId) -> bool:
    try:
        to_uuid(message)
    except ValueError:
        return False
    return True
