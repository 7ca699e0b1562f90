"""The events of the log: each kind of fact is a class, whose fields are those of the line.

The services' log (``logs``) and the historical log (``classic.log_lines``) both write these events.
The renderer of the log escapes texts that came from a peer. No event holds message content or
secrets.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from inspect import get_annotations
from typing import ClassVar, TypeAlias, dataclass_transform

from emailrelay.queue_id import QueueId

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Level(StrEnum):
    """The importance of a fact for a reader of the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


TIME_FIELDS = frozenset({"again", "next_attempt", "token_until"})
"""Fields with a time in seconds since 1970, which people read as date and time."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event:
    """A fact. ``level`` belongs to the kind of fact, not to the place that reports it.

    The kinds look like frozen dataclasses, to type checkers as well. They are none: to generate the
    code of so many dataclasses would take a large part of a service's start.
    """

    level: ClassVar[Level] = Level.INFO
    waits: ClassVar[bool] = False
    """True: many of these come at a time, and the log writes those of one moment together."""
    name: ClassVar[str] = ""
    """The kind in the log: ``worker_died`` of ``WorkerDied``."""
    fields: ClassVar[tuple[str, ...]] = ()
    """The names of the kind's own attributes."""
    _known: ClassVar[frozenset[str]] = frozenset()
    _needed: ClassVar[frozenset[str]] = frozenset()
    """The fields without a default."""
    _shown: ClassVar[dict[tuple[bool, ...], tuple[str, ...]]] = {}
    """The fields that a line shows, by those of ``MailEvent`` that are not empty."""

    def __init_subclass__(cls) -> None:
        of_kind = get_annotations(Event)
        own = (name for name in get_annotations(cls) if name not in of_kind)
        cls.fields = tuple(dict.fromkeys((*own, *cls.fields)))  # the kind's own ones stand first
        cls._shown = {}
        cls._known = frozenset(cls.fields)
        cls._needed = frozenset(name for name in cls.fields if not hasattr(cls, name))
        cls.name = _WORD_START.sub("_", cls.__name__).lower()

    def __init__(self, **values: object) -> None:
        if not (self._known.issuperset(values) and self._needed.issubset(values)):
            self._complain(values)
        self.__dict__.update(values)

    def _complain(self, values: Mapping[str, object]) -> None:
        kind = type(self).__name__
        for name in values:
            if name not in self._known:
                raise TypeError(f"{kind} has no {name}")
        raise TypeError(f"{kind} needs {', '.join(sorted(self._needed - values.keys()))}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: facts do not change")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({said})"

    def __str__(self) -> str:
        """Write the fact in words for a terminal: ``set aside: id 1.2.3, reason no content``."""
        said = ((name, getattr(self, name)) for name in self.shown())
        words = ", ".join(f"{name} {value}" for name, value in said if value not in (None, ""))
        return f"{self.name.replace('_', ' ')}: {words}"

    def shown(self) -> Sequence[str]:
        """Return the names of the fields that a line shows."""
        return self.fields

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.fields)


class MailEvent(Event):
    """A fact about a message; ``mail_fields`` gives these fields.

    A line shows them if they are not empty. Without sender and recipients the place that reports
    the fact does not know the envelope.
    """

    sender: str = ""
    """The address, or empty for the null sender."""
    recipients: int = 0
    """The number of recipients that the fact concerns."""
    to: tuple[str, ...] = ()
    """The first of these recipients."""
    message_id: str = ""
    """The Message-ID of the header."""
    user: str = ""
    """The user as whom the client has logged in."""

    def shown(self) -> Sequence[str]:
        """See ``Event.shown``. The null sender is shown, as empty."""
        said = (
            bool(self.sender or self.recipients),
            bool(self.to),
            bool(self.message_id),
            bool(self.user),
        )
        return self._shown.get(said) or self._shown.setdefault(said, self._those(*said))

    def _those(self, mail: bool, to: bool, message_id: bool, user: bool) -> tuple[str, ...]:  # noqa: FBT001 - one for each field
        said = {"sender": mail, "recipients": mail, "to": to, "message_id": message_id}
        return tuple(name for name in self.fields if {**said, "user": user}.get(name, True))


Report: TypeAlias = Callable[[Event], None]
"""Takes events. It must not raise and must not block."""


class Started(Event):
    """A service is ready."""

    service: str
    version: str
    workers: int = 1


class Listening(Event):
    """Clients can connect to ``address``."""

    service: str
    address: str


class Stopping(Event):
    """A service was told to stop and finishes its current work."""

    service: str


class Stopped(Event):
    """A service has ended; the next process redoes the ``unfinished`` pieces of its work."""

    service: str
    unfinished: int = 0


class Reloaded(Event):
    """The settings were read again. ``changed`` names those that new work uses from now on.

    ``needs_restart`` names the changed settings that take effect at the next start only.
    """

    service: str
    changed: str
    needs_restart: str


class ReloadRefused(Event):
    """The settings were read again and have errors: all previous settings stay in force."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    problems: str


class WorkerDied(Event):
    """A worker process ended unexpectedly; another replaces it."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    pid: int
    reason: str


class Received(MailEvent):
    """A message is durable, and the client got 250.

    Here and below ``client`` is an IP address or the path of a unix socket, and ``port`` its TCP
    port or 0.
    """

    waits: ClassVar[bool] = True
    id: QueueId
    size: int
    port: int = 0
    client: str
    seconds: float = 0.0
    """The time that the store took to make it durable."""


class Rejected(MailEvent):
    """A client got a refusal; ``command`` is the verb of the refused SMTP command.

    At RCPT the recipient is the refused one. An unknown verb is ``(unknown)``: clients sometimes send passwords where a command belongs.
    """

    command: str
    reply: str
    port: int = 0
    client: str


class MoreTrouble(Event):
    """The numbers of refusals and broken sessions that got no line of their own within a second."""

    level: ClassVar[Level] = Level.WARNING
    refusals: int
    sessions: int


class LoggedIn(Event):
    """A client authenticated."""

    user: str
    mechanism: str
    port: int = 0
    client: str


class LoginFailed(Event):
    """A client failed to authenticate. It chose the text in ``user``."""

    level: ClassVar[Level] = Level.WARNING
    user: str
    mechanism: str
    port: int = 0
    client: str


class ConsoleLogin(Event):
    """A user signed in to the console. ``client`` is an IP address, or empty for a unix socket."""

    user: str
    role: str
    client: str


class ConsoleLoginFailed(Event):
    """A client failed to sign in to the console. It chose the text in ``user``."""

    level: ClassVar[Level] = Level.WARNING
    user: str
    client: str


class ConsoleAction(Event):
    """A user of the console changed a message."""

    id: QueueId
    action: str
    user: str


class ConsoleExamination(Event):
    """A user of the console let the doctor examine a route, or all routes (an empty name)."""

    route: str
    user: str


class SecretsTrouble(Event):
    """A changed secrets file cannot be used; the previous accounts stay in force."""

    level: ClassVar[Level] = Level.ERROR
    reason: str


class AcceptTrouble(Event):
    """No connection can be accepted at the moment: too many open files, or no memory."""

    level: ClassVar[Level] = Level.ERROR
    reason: str


class VerifierTrouble(Event):
    """The address verifier could not answer; the client gets a temporary refusal."""

    level: ClassVar[Level] = Level.WARNING
    verifier: str
    reason: str


class RecipientChecked(Event):
    """The next server answered at RCPT; ``result`` is ``accepted``, ``deferred`` or ``refused``."""

    level: ClassVar[Level] = Level.DEBUG
    result: str
    reply: str = ""
    """That to the client, unless the recipient was accepted."""


class RecipientUnchecked(Event):
    """The answer of the next server to RCPT is unknown; the client gets 250, the delivery decides."""

    level: ClassVar[Level] = Level.WARNING
    reason: str


class SessionTrouble(Event):
    """A session ended without QUIT, or ran into an internal error."""

    level: ClassVar[Level] = Level.WARNING
    port: int = 0
    client: str
    reason: str


class Vanished(Event):
    """A client connected and disconnected without a command, as port checks do."""

    level: ClassVar[Level] = Level.DEBUG
    client: str


class Direction(StrEnum):
    """The direction of a line, as the historical log marks it."""

    RECEIVED = "rx<<"
    SENT = "tx>>"


class Dialogue(Event):
    """A command or reply of a session; reported only with ``verbose`` or ``debug``.

    ``line`` holds no secret and no message text: ``***`` replaces answers to challenges.
    """

    level: ClassVar[Level] = Level.DEBUG
    direction: Direction
    line: str
    port: int = 0
    peer: str
    """The other end: a client of the receiver (at ``port``), or a server of the forwarder."""


class Traceback(Event):
    """The traceback of an internal error."""

    level: ClassVar[Level] = Level.DEBUG
    text: str


class TlsHandshake(Event):
    """A TLS handshake ended; as ``server`` with a client, or as ``client`` with the next server."""

    level: ClassVar[Level] = Level.DEBUG
    side: str
    result: str
    """``success`` or ``failure``; a failure has its reason in an event of its own."""
    peer: str


class FilterVerdict(Event):
    """A filter chain gave its verdict; ``filter`` is the filter that decided.

    ``verdict`` is ``accept``, ``abandon``, ``reject``, ``skip`` or ``trouble``.
    """

    level: ClassVar[Level] = Level.DEBUG
    id: QueueId
    filter: str
    verdict: str


class Passed(MailEvent):
    """The filter chain accepted a message."""

    waits: ClassVar[bool] = True
    id: QueueId
    seconds: float


class FilterHeld(MailEvent):
    """A filter asked for quarantine; the message is held until an operator releases it.

    ``reason`` begins with the filter.
    """

    id: QueueId
    reason: str


class Abandoned(MailEvent):
    """A filter asked to drop the message."""

    id: QueueId
    filter: str


class FilterRejected(MailEvent):
    """The waiting client gets a filter's rejection; the message is not kept."""

    id: QueueId
    filter: str
    reply: str
    reason: str


class FilterTrouble(MailEvent):
    """A filter failed; its mail waits and is tried again."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    filter: str
    reason: str


class NoFilter(Event):
    """Mail waits for a filter, but filterd has none; ``--filter exit:0`` lets it pass."""

    level: ClassVar[Level] = Level.WARNING
    waiting: int


class FilterUnstartable(Event):
    """A filter program is missing or cannot be run; mail waits until it can."""

    level: ClassVar[Level] = Level.WARNING
    filter: str
    reason: str


class Delivered(MailEvent):
    """The next server accepted the message for these recipients."""

    waits: ClassVar[bool] = True
    id: QueueId
    peer: str
    reply: str
    seconds: float
    route: str = ""
    """Here and below: the route's name; of several routes, the names with commas between."""
    in_queue: float = 0.0
    """Seconds from the arrival of the message to this delivery."""


class Withdrawn(MailEvent):
    """The client that waited for this delivery is gone: the relay does not deliver the message."""

    id: QueueId


class Deferred(MailEvent):
    """The message waits because of ``reason``; ``next_attempt`` is in seconds since 1970."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    reason: str
    next_attempt: float | None
    route: str = ""
    code: int = 0
    """Here and below: the code of the reply in ``reason``; 0: it has none."""


class RecipientsRefused(MailEvent):
    """The next server or a filter refused these recipients for good, while others wait.

    ``reply`` is that for the first one. The sender is told when the message ends.
    """

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    peer: str
    reply: str


class Failed(MailEvent):
    """The relay gave up; the message stays as failed, for the operator and for notification."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str
    route: str = ""
    code: int = 0


class Bounced(Event):
    """A notice of failure is on its way: ``to`` are its recipients, ``notice`` is its id."""

    id: QueueId
    """The failed message; several may share a notice."""
    notice: QueueId
    to: tuple[str, ...]


class NotBounced(Event):
    """There is no notice about a failed message; it stays in the store."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    reason: str


class BouncesHeldBack(Event):
    """So many ``notices`` went to one address within an hour that further failures share one."""

    level: ClassVar[Level] = Level.WARNING
    to: tuple[str, ...]
    notices: int
    again: float
    """The time of the shared notice, in seconds since 1970."""


class FailedRemoved(Event):
    """A failed message was removed: its sender was told, and the time to keep it is over."""

    id: QueueId


class SmarthostTrouble(Event):
    """The smarthost cannot be used now; mail waits."""

    level: ClassVar[Level] = Level.WARNING
    peer: str
    reason: str


class RateReached(Event):
    """A route reached its rate. Reported once, until a message may go out at once again."""

    route: str
    rate: str
    again: float
    """Time at which the next message may go out (seconds since 1970)."""


class SlowedDown(Event):
    """A server wants mail more slowly, or none for a while; reported at the first refusal only."""

    peer: str
    reason: str
    rate: str
    """The rate from now on, until the server's answers allow more."""
    again: float
    """Time at which the refused message is tried again (seconds since 1970)."""


class SignInRefused(Event):
    """The smarthost refuses our account, or the account is not for that smarthost.

    The mail waits until the operator corrects the account or the settings.
    """

    level: ClassVar[Level] = Level.ERROR
    peer: str
    reason: str


class SmarthostBack(Event):
    """The smarthost can be used again; the mail that waited for it is due."""

    peer: str


class SignInTrouble(Event):
    """An account got no new token; the current one ends at ``token_until`` (seconds since 1970)."""

    level: ClassVar[Level] = Level.WARNING
    account: str
    reason: str
    advice: str
    token_until: float | None


class SignInBack(Event):
    """An account has a new token after a ``SignInTrouble``."""

    account: str


class StillUnfiltered(Event):
    """A single pass skipped this mail: it waits for its filters, which filterd runs."""

    level: ClassVar[Level] = Level.WARNING
    messages: int


class SetAside(MailEvent):
    """A damaged entry of the store was set aside; reported once, with the reason."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str


class Recovered(Event):
    """Unfinished work of a dead process was completed or undone; ``what`` says which."""

    id: QueueId
    what: str


class PossibleDuplicate(MailEvent):
    """``peer`` may get a second copy of this message.

    Its answer to the final dot was lost, or the client that waited for the answer had given up.
    """

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    peer: str


class TakenIn(MailEvent):
    """The relay took over a message that a filter or another program put into the store."""

    id: QueueId


class HandedOver(Event):
    """Mail that was stored on this host while the store was away is in the store now."""

    messages: int


class StoreTrouble(Event):
    """An operation of the store failed and will be tried again; no mail is lost."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str


class WatchTrouble(Event):
    """The directory cannot be watched: polling finds new mail, but later."""

    level: ClassVar[Level] = Level.WARNING
    reason: str


class LeftOut(Event):
    """The number of lines left out within a minute because they repeated an earlier line."""

    level: ClassVar[Level] = Level.WARNING
    kind: str
    reason: str
    lines: int


class LinesDropped(Event):
    """The log could not be written for a while (reader blocked, disk full); mail went on."""

    level: ClassVar[Level] = Level.WARNING
    lines: int


class LibraryTrouble(Event):
    """A library wrote a warning to Python's logging."""

    level: ClassVar[Level] = Level.WARNING
    library: str
    text: str


class Unresponsive(Event):
    """A process of the service has done nothing for so many ``seconds``; its work waits."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    pid: int
    seconds: float


class MonitorTrouble(Event):
    """Counters, or the state for the monitor, cannot be kept; mail goes on."""

    level: ClassVar[Level] = Level.WARNING
    reason: str


class InternalError(Event):
    """A bug in this program stopped one piece of work, which waits; all other work goes on."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str
