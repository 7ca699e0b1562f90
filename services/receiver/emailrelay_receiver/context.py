"""The settings, store and shared state of all sessions of one receiver process."""

import resource
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from emailrelay.ack import Ack
from emailrelay.aliases import Aliases
from emailrelay.config import ReceiverSettings
from emailrelay.config.values import left_out
from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.login_attempts import LoginAttempts
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import recipient_sockets
from emailrelay_receiver.clients.admission import Admission
from emailrelay_receiver.clients.client_rules import ClientRules, make_client_rules
from emailrelay_receiver.clients.forwarder_questions import ForwarderQuestions
from emailrelay_receiver.clients.verifier import Verifier, make_verifier
from emailrelay_receiver.connection.time_limits import SessionTimeouts
from emailrelay_receiver.dialogue.dialogue import Capabilities

_FILTERD = 10.0
"""Seconds beyond its own time-outs after which filterd counts as dead."""
_RESERVED = 40
"""File descriptors for the store, listening sockets and connections that are being refused."""
_ASK_AFTER = 1024 * 1024
"""Octets of content between two checks of the store's room, which may fall short by as much."""
_ROOM_LASTS = 0.1
"""Seconds for which the room that was found is good for the next MAIL commands."""
_FORWARDING = 660.0
"""Seconds for the next server: 600 for its final dot (RFC 5321 section 4.5.3.2.6) and 60 before."""


@dataclass(slots=True, kw_only=True)
class ReceiverContext:
    """Everything a session needs besides its connection. A reload makes a new one."""

    offer: Capabilities
    store: Store
    stage: Stage
    """The first stage of received mail: UNFILTERED or READY."""
    ack: Ack
    answer_within: float
    """Seconds after which a client that waits for more than storage gets a reply in any case."""
    admission: Admission
    report: Report
    clock: Callable[[], float]
    """Seconds since 1970."""
    timeouts: SessionTimeouts
    remote_clients: bool = False
    rules: ClientRules
    """The rules for clients, with certificate and secrets."""
    verifier: Verifier | None = None
    next_server: ForwarderQuestions | None = None
    """Asked about recipients at RCPT; None: it is not asked."""
    minimum_free: int = 0
    """Octets of room that mail must leave free."""
    login_pause: float = 1.0
    """Seconds by which each wrong password delays the next reply."""
    attempts: LoginAttempts = field(default_factory=lambda: LoginAttempts(time.monotonic))
    """The logins under way, and failures of the past."""
    logs_dialogue: bool = False
    """Each line of the dialogues is logged."""
    anonymous: frozenset[str] = field(default_factory=frozenset[str])
    """Facts that the server does not reveal: ``vrfy``, ``server``, ``content``, ``client``."""
    closing: bool = False
    """The service was told to stop."""
    _unasked: int = 0
    """Octets of content written by all sessions since the last look at the store's room."""
    _room: int | None = None
    _room_until: float = 0.0
    """``_room`` is good until then (``time.monotonic``)."""

    def succeed(self, earlier: "ReceiverContext") -> None:
        """Take over the state of the process: all open sessions count, whatever their settings."""
        admission = earlier.admission
        admission.most, admission.most_of_one = self.admission.most, self.admission.most_of_one
        self.admission = admission
        self.attempts = earlier.attempts
        old = earlier.verifier
        if self.verifier and old and self.verifier.spec == old.spec:
            self.verifier = old
        self.next_server = earlier.next_server

    def takes(self, octets: int) -> bool:
        """Return whether there is room for so many octets, beside all that is being written.

        Few clients say how much they send. Room for it is not reserved either: otherwise any client
        could reserve all room by announcing a size.
        """
        self._unasked += octets
        if self._unasked < _ASK_AFTER:
            return True
        self._unasked = 0
        room = self.room()
        return room is None or room >= octets

    def room(self) -> int | None:
        """Return the octets that can still be stored, by one system call; None: unknown."""
        free = self.store.free()
        return None if free is None else free - self.minimum_free

    def recent_room(self) -> int | None:
        """Do as ``room``, with one look for all MAIL commands of a moment."""
        now = time.monotonic()
        if now >= self._room_until:
            self._room, self._room_until = self.room(), now + _ROOM_LASTS
        return self._room

    def can_store(self) -> bool:
        """Return whether the store can be used at present; it has reported the reason if not."""
        return self.store.unavailable() is None

    @property
    def greeting(self) -> str:
        """The text of the greeting (RFC 5321 section 4.2)."""
        name = "" if "server" in self.anonymous else " E-MailRelay"
        return f"{self.offer.domain} ESMTP{name} ready"

    def store_trouble(self, error: StoreError) -> None:
        """Log why mail is refused for now; the client gets a general reply."""
        self.report(StoreTrouble(doing="taking a message in", reason=str(error)))


def _answer_within(settings: ReceiverSettings) -> float:
    filtering = len(settings.filter) * settings.filter_timeout
    return filtering + (_FORWARDING if settings.ack is Ack.DELIVERED else _FILTERD)


def _descriptors() -> int:
    """Return the connections that the file descriptors allow; a message needs more of them."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (limit - _RESERVED) // 2)


def _next_server(settings: ReceiverSettings) -> ForwarderQuestions | None:
    if not settings.verify_recipients:
        return None
    return ForwarderQuestions(recipient_sockets(settings.store_place).connected)


def make_context(
    settings: ReceiverSettings, store: Store, *, report: Report, clock: Callable[[], float]
) -> ReceiverContext:
    """Make the context that the settings describe.

    Raises:
        ConfigError: a file that they name cannot be used.

    """
    anonymous = frozenset(settings.anonymous)
    verifier = settings.address_verifier
    machine = socket.gethostname()
    domain = settings.domain or machine
    return ReceiverContext(
        offer=Capabilities(
            domain=domain,
            size=settings.size,
            recipients=settings.recipients,
            refusals=max(1000, 10 * settings.recipients),
            vrfy="vrfy" not in anonymous,
            without=left_out(settings.server_smtp_config),
            aliases=Aliases.of(settings.aliases, domain, machine),
        ),
        store=store,
        stage=Stage.UNFILTERED if settings.filter else Stage.READY,
        ack=settings.ack,
        answer_within=_answer_within(settings),
        admission=Admission(min(settings.connections, _descriptors()), settings.client_connections),
        report=report,
        clock=clock,
        timeouts=SessionTimeouts(
            idle=settings.idle_timeout,
            first_mail=min(settings.first_mail_timeout, settings.idle_timeout),
            session=settings.session_timeout,
        ),
        remote_clients=settings.remote_clients,
        rules=make_client_rules(settings, report=report),
        verifier=make_verifier(verifier, settings.filter_timeout) if verifier else None,
        next_server=_next_server(settings),
        minimum_free=settings.minimum_free,
        logs_dialogue=settings.verbose or settings.debug,
        anonymous=anonymous,
    )
