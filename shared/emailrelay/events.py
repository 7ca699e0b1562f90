"""The vocabulary of the log: each fact worth telling is a class, its fields are what there is to say.

Log lines and counters are two readers of the same events. Texts that came from a peer are escaped by
the log's renderer; message content and secrets are in no event.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from inspect import get_annotations
from typing import ClassVar, TypeAlias, dataclass_transform

from emailrelay.queue_id import QueueId


class Level(StrEnum):
    """How much a fact matters to whoever reads the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event:
    """A fact. ``level`` belongs to the kind of fact, not to the place where it is told.

    The kinds read as frozen dataclasses, and type checkers take them for such; but of this many the
    generated code would take a good part of a service's start.
    """

    level: ClassVar[Level] = Level.INFO
    fields: ClassVar[tuple[str, ...]] = ()
    """What this kind says."""

    def __init_subclass__(cls) -> None:
        of_kind = get_annotations(Event)
        own = (name for name in get_annotations(cls) if name not in of_kind)
        cls.fields = (*cls.fields, *own)

    def __init__(self, **said: object) -> None:
        for name in said:
            if name not in self.fields:
                raise TypeError(f"{type(self).__name__} has no {name}")
        vars(self).update(said)
        for name in self.fields:
            if not hasattr(self, name):  # neither said nor with a default
                raise TypeError(f"{type(self).__name__} needs {name}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: facts do not change")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event) or type(self) is not type(other):
            return NotImplemented
        return self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({said})"

    def __str__(self) -> str:
        """Give the fact in words for a terminal: ``set aside: id 1.2.3, reason no content``."""
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in type(self).__name__).strip()
        said = ((name, getattr(self, name)) for name in self.fields)
        return f"{words}: {', '.join(f'{n} {v}' for n, v in said if v not in (None, ''))}"

    def _said(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.fields)


Report: TypeAlias = Callable[[Event], None]
"""Where events go; must not raise and must not block."""

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def event_name(kind: type[Event]) -> str:
    """Return the name of a kind of event in the log: ``WorkerDied`` is ``worker_died``."""
    return _WORD_START.sub("_", kind.__name__).lower()


class Started(Event):
    """A service is ready for work."""

    service: str
    version: str
    workers: int = 1


class Listening(Event):
    """Clients can connect to ``address``."""

    service: str
    address: str


class Stopping(Event):
    """A service has been told to stop and finishes what it is doing."""

    service: str


class Stopped(Event):
    """A service has ended; ``unfinished`` pieces of work were dropped, to be done again by the next."""

    service: str
    unfinished: int = 0


class Reloaded(Event):
    """Settings were read again: ``changed`` names those in force from now on, for what begins now.

    ``needs_restart`` names those that differ too, but count at the start only.
    """

    service: str
    changed: str
    needs_restart: str


class ReloadRefused(Event):
    """Settings were read again and are wrong: those before stay in force, all of them."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    problems: str


class WorkerDied(Event):
    """A worker process ended by itself; another takes its place."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    pid: int
    reason: str


class Received(Event):
    """A message is durable and the client has been told 250.

    ``client`` is an IP address or the path of a unix socket, here and below; ``port`` its TCP port, or 0.
    """

    id: QueueId
    sender: str
    recipients: int
    size: int
    port: int = 0
    client: str


class Rejected(Event):
    """A client was told no; ``command`` is the word of the SMTP command that was refused.

    Of what is no command it is ``(unknown)``: clients say passwords where none is asked for.
    """

    command: str
    reply: str
    port: int = 0
    client: str


class MoreTrouble(Event):
    """There were so many further refusals and broken sessions within a second, without a line for each."""

    level: ClassVar[Level] = Level.WARNING
    refusals: int
    sessions: int


class LoggedIn(Event):
    """A client has proved who it is."""

    user: str
    mechanism: str
    port: int = 0
    client: str


class LoginFailed(Event):
    """A client could not prove who it is; ``user`` is what it said, and may be anything."""

    level: ClassVar[Level] = Level.WARNING
    user: str
    mechanism: str
    port: int = 0
    client: str


class SecretsTrouble(Event):
    """A changed secrets file cannot be used; what it said before stays in force."""

    level: ClassVar[Level] = Level.ERROR
    reason: str


class AcceptTrouble(Event):
    """No connection can be accepted for a moment: too many open files, or no memory."""

    level: ClassVar[Level] = Level.ERROR
    reason: str


class VerifierTrouble(Event):
    """The address verifier could not answer; the client is told to try again."""

    level: ClassVar[Level] = Level.WARNING
    verifier: str
    reason: str


class SessionTrouble(Event):
    """A session ended otherwise than by QUIT, or ran into an error of ours."""

    level: ClassVar[Level] = Level.WARNING
    port: int = 0
    client: str
    reason: str


class Vanished(Event):
    """A client connected and went away without a word, as a port check does."""

    level: ClassVar[Level] = Level.DEBUG
    client: str


class Direction(StrEnum):
    """Which way a line went, as the historical log marks it."""

    RECEIVED = "rx<<"
    SENT = "tx>>"


class Dialogue(Event):
    """A command or reply of a session, told only when asked for.

    ``line`` has no secret and no message text in it: what answers a challenge stands as ``***``.
    """

    level: ClassVar[Level] = Level.DEBUG
    direction: Direction
    line: str
    port: int = 0
    peer: str
    """The other end: a client of the receiver (at ``port``), or a server of the forwarder."""


class Traceback(Event):
    """Where in our own code an error came from, for whoever mends it."""

    level: ClassVar[Level] = Level.DEBUG
    text: str


class Passed(Event):
    """The filter chain said yes."""

    id: QueueId
    seconds: float


class Abandoned(Event):
    """A filter said that the message is to be dropped."""

    id: QueueId
    filter: str


class FilterRejected(Event):
    """A filter's rejection is the answer for the client who waits; nothing stays behind."""

    id: QueueId
    filter: str
    reply: str
    reason: str


class FilterTrouble(Event):
    """A filter could not do its work; its mail is held back and tried again."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    filter: str
    reason: str


class NoFilter(Event):
    """Mail waits for a filter, but filterd has none configured; ``--filter exit:0`` lets it pass."""

    level: ClassVar[Level] = Level.WARNING
    waiting: int


class FilterUnstartable(Event):
    """A filter program is missing or cannot be run; mail is held back until it can."""

    level: ClassVar[Level] = Level.WARNING
    filter: str
    reason: str


class Delivered(Event):
    """The next server has taken the message for these recipients."""

    id: QueueId
    peer: str
    recipients: int
    reply: str
    seconds: float


class Withdrawn(Event):
    """The client who waited for this message's delivery has gone: it is not ours to deliver."""

    id: QueueId


class Deferred(Event):
    """Not done yet: ``reason`` stands in the way, and ``next_attempt`` (seconds since 1970) follows."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    reason: str
    next_attempt: float | None


class Failed(Event):
    """Given up for good; kept as failed for the operator and for notification."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str


class SmarthostTrouble(Event):
    """The smarthost cannot be used just now; mail waits."""

    level: ClassVar[Level] = Level.WARNING
    peer: str
    reason: str


class RateReached(Event):
    """A route has sent as much as it may for now; told once, until there is room at once again."""

    route: str
    rate: str
    again: float
    """When there is room for the next message (seconds since 1970)."""


class SlowedDown(Event):
    """A server wants mail more slowly, or none for a while; told at the first refusal of many."""

    peer: str
    reason: str
    rate: str
    """What it gets from now on, until its answers allow more."""
    again: float
    """When the message that was refused has its turn (seconds since 1970)."""


class SignInRefused(Event):
    """The smarthost does not let our account in, or the account is not for that smarthost.

    The mail waits, and somebody must look at the account or at the settings.
    """

    level: ClassVar[Level] = Level.ERROR
    peer: str
    reason: str


class SmarthostBack(Event):
    """The smarthost can be used again; the mail that waited for it is due."""

    peer: str


class SignInTrouble(Event):
    """No new token for an account; the one in use is good until ``token_until`` (seconds since 1970)."""

    level: ClassVar[Level] = Level.WARNING
    account: str
    reason: str
    advice: str
    token_until: float | None


class SignInBack(Event):
    """An account has a new token after all."""

    account: str


class StillUnfiltered(Event):
    """A single pass left this mail alone: it waits for its filters, and filterd runs them."""

    level: ClassVar[Level] = Level.WARNING
    messages: int


class SetAside(Event):
    """An entry of the store was damaged and has been put out of the way, once, with its reason."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str


class Recovered(Event):
    """What a process that died had begun was finished or taken back; ``what`` says which."""

    id: QueueId
    what: str


class PossibleDuplicate(Event):
    """``peer`` may get a second copy of this message.

    Nobody heard its answer to the final dot, or the client who waited for that had given up before.
    """

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    peer: str


class TakenIn(Event):
    """A message that a filter or another program put into the store is ours now."""

    id: QueueId


class StoreTrouble(Event):
    """The store could not do something and will try again; no mail is lost by it."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str


class WatchTrouble(Event):
    """New mail is noticed by polling only, hence later: the directory cannot be watched."""

    level: ClassVar[Level] = Level.WARNING
    reason: str


class LeftOut(Event):
    """So many lines of a kind were left out within a minute, as they said the same as one that was told."""

    level: ClassVar[Level] = Level.WARNING
    kind: str
    reason: str
    lines: int


class LinesDropped(Event):
    """The log could not be written for a while (its reader stuck, its disk full); mail went on."""

    level: ClassVar[Level] = Level.WARNING
    lines: int


class LibraryTrouble(Event):
    """A library we stand on warned through Python's own logging."""

    level: ClassVar[Level] = Level.WARNING
    library: str
    text: str


class InternalError(Event):
    """A mistake in this program hit one piece of work, which waits; all other work goes on."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str
