"""The vocabulary of the log: each fact worth telling is a class, its fields are what there is to say.

Log lines and counters are two readers of the same events. Texts that came from a peer are escaped by
the log's renderer; message content and secrets are in no event.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

from emailrelay.queue_id import QueueId


class Level(StrEnum):
    """How much a fact matters to whoever reads the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact. ``level`` belongs to the kind of fact, not to the place where it is told."""

    level: ClassVar[Level] = Level.INFO


Report: TypeAlias = Callable[[Event], None]
"""Where events go; must not raise and must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A service is ready for work."""

    service: str
    version: str
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening(Event):
    """Clients can connect to ``address``."""

    service: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Event):
    """A service has been told to stop and finishes what it is doing."""

    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """A service has ended; ``unfinished`` pieces of work were dropped, to be done again by the next."""

    service: str
    unfinished: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(Event):
    """Settings were read again: ``changed`` names those in force from now on, for what begins now.

    ``needs_restart`` names those that differ too, but count at the start only.
    """

    service: str
    changed: str
    needs_restart: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRefused(Event):
    """Settings were read again and are wrong: those before stay in force, all of them."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    problems: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDied(Event):
    """A worker process ended by itself; another takes its place."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    pid: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Event):
    """A message is durable and the client has been told 250."""

    id: QueueId
    sender: str
    recipients: int
    size: int
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """A client was told no; ``command`` is the word of the SMTP command that was refused."""

    command: str
    reply: str
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreTrouble(Event):
    """There were so many further refusals and broken sessions within a second, without a line for each."""

    level: ClassVar[Level] = Level.WARNING
    refusals: int
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn(Event):
    """A client has proved who it is."""

    user: str
    mechanism: str
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFailed(Event):
    """A client could not prove who it is; ``user`` is what it said, and may be anything."""

    level: ClassVar[Level] = Level.WARNING
    user: str
    mechanism: str
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsTrouble(Event):
    """A changed secrets file cannot be used; what it said before stays in force."""

    level: ClassVar[Level] = Level.ERROR
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptTrouble(Event):
    """No connection can be accepted for a moment: too many open files, or no memory."""

    level: ClassVar[Level] = Level.ERROR
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierTrouble(Event):
    """The address verifier could not answer; the client is told to try again."""

    level: ClassVar[Level] = Level.WARNING
    verifier: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTrouble(Event):
    """A session ended otherwise than by QUIT, or ran into an error of ours."""

    level: ClassVar[Level] = Level.WARNING
    client: str
    reason: str


class Direction(StrEnum):
    """Which way a line went, as the historical log marks it."""

    RECEIVED = "rx<<"
    SENT = "tx>>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue(Event):
    """A command or reply of a session, told only when asked for.

    ``line`` has no secret and no message text in it: what answers a challenge stands as ``***``.
    """

    level: ClassVar[Level] = Level.DEBUG
    direction: Direction
    line: str
    peer: str
    """The other end: a client of the receiver, or a server of the forwarder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traceback(Event):
    """Where in our own code an error came from, for whoever mends it."""

    level: ClassVar[Level] = Level.DEBUG
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed(Event):
    """The filter chain said yes."""

    id: QueueId
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned(Event):
    """A filter said that the message is to be dropped."""

    id: QueueId
    filter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRejected(Event):
    """A filter's rejection is the answer for the client who waits; nothing stays behind."""

    id: QueueId
    filter: str
    reply: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTrouble(Event):
    """A filter could not do its work; its mail is held back and tried again."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    filter: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFilter(Event):
    """Mail waits for a filter, but filterd has none configured; ``--filter exit:0`` lets it pass."""

    level: ClassVar[Level] = Level.WARNING
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterUnstartable(Event):
    """A filter program is missing or cannot be run; mail is held back until it can."""

    level: ClassVar[Level] = Level.WARNING
    filter: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(Event):
    """The next server has taken the message for these recipients."""

    id: QueueId
    peer: str
    recipients: int
    reply: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """The client who waited for this message's delivery has gone: it is not ours to deliver."""

    id: QueueId


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred(Event):
    """Not done yet: ``reason`` stands in the way, and ``next_attempt`` (seconds since 1970) follows."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    reason: str
    next_attempt: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """Given up for good; kept as failed for the operator and for notification."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SmarthostTrouble(Event):
    """The smarthost cannot be used just now; mail waits."""

    level: ClassVar[Level] = Level.WARNING
    peer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReached(Event):
    """A route has sent as much as it may for now; told once, until there is room at once again."""

    route: str
    rate: str
    again: float
    """When there is room for the next message (seconds since 1970)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRefused(Event):
    """The smarthost does not let our account in; mail waits, and somebody must look at the account."""

    level: ClassVar[Level] = Level.ERROR
    peer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SmarthostBack(Event):
    """The smarthost can be used again; the mail that waited for it is due."""

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInTrouble(Event):
    """No new token for an account; the one in use is good until ``token_until`` (seconds since 1970)."""

    level: ClassVar[Level] = Level.WARNING
    account: str
    reason: str
    advice: str
    token_until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInBack(Event):
    """An account has a new token after all."""

    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StillUnfiltered(Event):
    """A single pass left this mail alone: it waits for its filters, and filterd runs them."""

    level: ClassVar[Level] = Level.WARNING
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside(Event):
    """An entry of the store was damaged and has been put out of the way, once, with its reason."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered(Event):
    """What a process that died had begun was finished or taken back; ``what`` says which."""

    id: QueueId
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleDuplicate(Event):
    """A forwarder died with this message's final dot on its way: ``peer`` may get a second copy."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenIn(Event):
    """A message that a filter or another program put into the store is ours now."""

    id: QueueId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTrouble(Event):
    """The store could not do something and will try again; no mail is lost by it."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTrouble(Event):
    """New mail is noticed by polling only, hence later: the directory cannot be watched."""

    level: ClassVar[Level] = Level.WARNING
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesDropped(Event):
    """The log could not be written for a while (its reader stuck, its disk full); mail went on."""

    level: ClassVar[Level] = Level.WARNING
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryTrouble(Event):
    """A library we stand on warned through Python's own logging."""

    level: ClassVar[Level] = Level.WARNING
    library: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalError(Event):
    """A mistake in this program hit one piece of work, which waits; all other work goes on."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str
