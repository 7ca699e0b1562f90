"""What the parts of one opened spool directory share."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from emailrelay.events import Report, StoreTrouble
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.stage import Stage
from emailrelay.store.spool import files, names
from emailrelay.store.spool.bell import Bell
from emailrelay.store.spool.doubt import DoubtSheet
from emailrelay.store.spool.ringer import Ringer
from emailrelay.store.spool.syncer import Syncer
from emailrelay.store.spool.wal.log import Log


@dataclass(slots=True, kw_only=True)
class Spool:
    """One spool directory as one process has it open."""

    root: str
    report: Report
    clock: Callable[[], float]
    ids: QueueIds
    log: Log
    syncer: Syncer
    bell: Ringer
    doubts: DoubtSheet
    user: int
    """Who this process is, asked once: each claim compares it with an envelope's owner."""
    logs: bool = False
    """New mail goes into the log."""
    put_off: dict[QueueId, float] = field(default_factory=dict[QueueId, float])
    """Until when (seconds since 1970) feeds pass over messages whose journal could not be told so."""

    left_alone: dict[QueueId, float] = field(default_factory=dict[QueueId, float])
    """For how many seconds messages are left alone, last, that nobody could settle."""

    def path(self, *parts: str) -> str:
        """Give a path in the spool."""
        return "/".join((self.root, *parts))

    def envelope(self, message: QueueId, stage: Stage) -> str:
        """Give the path of a message's envelope at a stage."""
        return f"{self.root}/{names.envelope(message, stage)}"

    def has_envelope(self, message: QueueId) -> bool:
        """Tell whether an envelope of the message stands at any stage."""
        return any(files.exists(f"{self.root}/{name}") for name in names.envelopes(message))

    def content(self, message: QueueId) -> str:
        """Give the path of a message's content."""
        return f"{self.root}/{names.content(message)}"

    def trouble(self, doing: str, reason: object) -> None:
        """Report what could not be done; it will be tried again."""
        self.report(StoreTrouble(doing=doing, reason=str(reason)))

    def make_directories(self) -> None:
        """Create what is missing of the layout; what is put there would not last longer than its name."""
        paths = [Path(self.root, directory) for directory in ("", *names.DIRECTORIES)]
        missing = [path for path in (*paths[0].parents, *paths) if not path.exists()]
        for path in paths:
            files.make_directory(path)
        for above in dict.fromkeys(path.parent for path in missing):
            with suppress(PermissionError):  # not ours to read; whoever made the way there may have
                files.sync_directory(str(above))


def open_spool(root: Path, report: Report, clock: Callable[[], float]) -> Spool:
    """Make the shared parts of a spool directory for this process."""
    log = Log(str(root / names.LOG))
    return Spool(
        root=str(root),
        report=report,
        clock=clock,
        user=os.geteuid(),
        ids=QueueIds(secrets.randbits(PROCESS_BITS)),
        log=log,
        syncer=Syncer(log),
        bell=Ringer(Bell(str(root / names.WAKE))),
        doubts=DoubtSheet(str(root / names.DOUBT)),
    )
