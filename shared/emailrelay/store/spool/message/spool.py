"""The state that the parts of one opened spool directory share."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.durable.durability import SpoolDurability
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.syncer import Syncer
from emailrelay.store.spool.history.history_writer import HistoryWriter
from emailrelay.store.spool.marks.final_dots import FinalDots
from emailrelay.store.spool.marks.live_writer import KnownWriters, LiveWriter
from emailrelay.store.spool.message.once_a_turn import OnceATurn
from emailrelay.store.spool.wake.announcer import Announcer
from emailrelay.store.spool.wake.hint_sender import HintSender


class Directories(NamedTuple):
    """The directories in a spool, in the order of ``names.DIRECTORIES``."""

    drafts: Directory
    work: Directory
    wake: Directory
    doubt: Directory
    waiting: Directory
    notices: Directory
    log: Directory


@dataclass(slots=True, kw_only=True)
class Spool:
    """One spool directory as one process has it open."""

    root: Directory
    directories: Directories
    report: Report
    clock: Callable[[], float]
    ids: QueueIds
    log: Log
    syncer: Syncer
    durability: SpoolDurability
    announcer: Announcer
    final_dots: FinalDots
    writer: LiveWriter
    writers: KnownWriters
    history: HistoryWriter
    user: int
    """The user of this process, asked once: each claim compares it with an envelope's owner."""
    at_its_path: OnceATurn = field(default_factory=OnceATurn)
    """The check that the spool was not moved, for all messages that become visible together."""
    put_off: dict[QueueId, float] = field(default_factory=dict[QueueId, float])
    """Due times (seconds since 1970) of messages whose files could not record them."""

    left_alone: dict[QueueId, float] = field(default_factory=dict[QueueId, float])
    """The last pause, in seconds, of each message that cannot be settled."""

    def envelope(self, message: QueueId, stage: Stage) -> Location:
        """Return the location of a message's envelope at a stage."""
        return self.root / names.envelope(message, stage)

    def has_envelope(self, message: QueueId) -> bool:
        """Tell if the message has an envelope at any stage."""
        return any(files.exists(self.root / name) for name in names.envelopes(message))

    def stage_of(self, message: QueueId) -> Stage | None:
        """Return the first stage at which the message has an envelope or a link; None: at none."""
        return next((stage for stage in Stage if self.is_at(message, stage)), None)

    def is_at(self, message: QueueId, stage: Stage) -> bool:
        """Tell if the message has an envelope of its own, or a link, at a stage."""
        try:
            envelope = files.status_of(self.envelope(message, stage))
            return not self.is_strange(message, envelope)
        except OSError:
            return False

    def is_strange(self, message: QueueId, envelope: os.stat_result) -> bool:
        """Tell if a member of the group of a sticky spool has put it beside another's content.

        A member may make files in the spool, such as a second envelope at another stage.

        Raises:
            OSError: the content cannot be looked at.

        """
        if envelope.st_uid in (self.user, 0) or not self.root.in_sticky_spool():
            return False
        try:
            content = files.status_of(self.content(message))
        except FileNotFoundError:
            return False
        return content.st_uid != envelope.st_uid

    def content(self, message: QueueId) -> Location:
        """Return the location of a message's content."""
        return self.root / names.content(message)

    def trouble(self, doing: str, reason: object) -> None:
        """Report a step that has failed; it will be tried again."""
        _tell(self.report, doing, reason)

    def make_directories(self) -> None:
        """Make missing directories, and open replaced ones."""
        self.root.renew()
        for directory in self.directories:
            directory.renew()

    def close(self) -> None:
        """Close the history, the files of other processes, and the directories."""
        self.history.close()
        self.writers.close()
        for directory in self.directories:
            directory.close()
        self.root.close()


def _tell(report: Report, doing: str, reason: object) -> None:
    report(StoreTrouble(doing=doing, reason=str(reason)))


def open_spool(
    root: Path,
    report: Report,
    clock: Callable[[], float],
    *,
    sync: SpoolSync = SpoolSync.FILES,
    makes: bool = True,
) -> Spool:
    """Return the shared parts of a spool directory for this process.

    ``sync``: how new mail becomes durable. ``makes``: missing directories are made when used.
    """
    above = Directory(str(root), makes=makes)
    directories = Directories(*(above.below(name, makes=makes) for name in names.DIRECTORIES))
    log = Log(directories.log)
    syncer = Syncer(log)
    ids = QueueIds(secrets.randbits(PROCESS_BITS))
    return Spool(
        root=above,
        directories=directories,
        report=report,
        clock=clock,
        user=os.geteuid(),
        ids=ids,
        log=log,
        syncer=syncer,
        durability=SpoolDurability(syncer, log, sync),
        announcer=Announcer(HintSender(directories.wake)),
        final_dots=FinalDots(directories.doubt, partial(_tell, report)),
        writer=LiveWriter(directories.doubt, ids.process),
        writers=KnownWriters(directories.doubt),
        history=HistoryWriter(above, clock=clock, trouble=partial(_tell, report)),
    )
