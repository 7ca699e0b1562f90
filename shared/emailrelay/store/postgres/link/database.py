"""One opened database, as the parts of the store share it."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from emailrelay.errors import RelayError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.stage import Stage
from emailrelay.store.postgres.link.clock import DatabaseClock
from emailrelay.store.postgres.link.connections import DatabaseConnections
from emailrelay.store.postgres.link.notifier import DatabaseNotifier
from emailrelay.store.postgres.link.trouble import Conflict, Lost


@dataclass(slots=True)
class Database:
    """The connections, the clock, and who we are."""

    connections: DatabaseConnections
    clock: DatabaseClock
    report: Report
    process: UUID = field(default_factory=uuid4)
    """Names this opener in leases."""
    ids: QueueIds = field(default_factory=lambda: QueueIds(secrets.randbits(PROCESS_BITS)))
    listeners: dict[Stage, set[Callable[[], None]]] = field(
        default_factory=lambda: {stage: set() for stage in Stage}
    )
    put_off: dict[UUID, float] = field(default_factory=dict[UUID, float])
    """Messages that the feeds of this process skip, each until a time (monotonic seconds)."""
    records: bool = False
    """True if the history is on, as far as this process knows."""
    notifier: DatabaseNotifier | None = None
    """Tells the feeds of other processes; None: they poll."""

    def __post_init__(self) -> None:
        if self.connections.place.notify:
            self.notifier = DatabaseNotifier(self.connections, self.ring_here)

    def new_id(self) -> QueueId:
        """Return an id for a new message."""
        return self.ids.next(self.clock())

    def leave_alone(self, message: UUID, seconds: float) -> None:
        """Have the feeds of this process leave a message alone for a while."""
        self.put_off[message] = time.monotonic() + seconds

    def left_alone(self) -> list[UUID]:
        """Return the messages that the feeds leave alone now."""
        now = time.monotonic()
        for message in [each for each, until in self.put_off.items() if until <= now]:
            del self.put_off[message]
        return list(self.put_off)

    def ring(self, stage: Stage) -> None:
        """Tell the feeds that a message at ``stage`` may be due."""
        self.ring_here(stage)
        if self.notifier is not None:
            self.notifier.say(stage)

    def ring_here(self, stage: Stage) -> None:
        """Tell the feeds of this process."""
        for listener in tuple(self.listeners[stage]):
            listener()

    def refused(self, doing: str, error: RelayError) -> None:
        """Report an error after which we try again, unless the connections report it.

        A conflict with another transaction is not trouble.
        """
        if not isinstance(error, (Lost, Conflict)):
            self.trouble(doing, error)

    def trouble(self, doing: str, error: object) -> None:
        """Report an error that stops nothing else."""
        self.report(StoreTrouble(doing=doing, reason=str(error)))
