"""What all the sessions of one receiver process share."""

import resource
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from emailrelay.ack import Ack
from emailrelay.config import ReceiverSettings
from emailrelay.config.values import left_out
from emailrelay.errors import StoreError
from emailrelay.events import Report, StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay_receiver.clients.admission import Admission
from emailrelay_receiver.clients.client_rules import ClientRules, make_gate
from emailrelay_receiver.clients.login_attempts import LoginAttempts
from emailrelay_receiver.clients.verifier import Verifier, make_verifier
from emailrelay_receiver.connection.refusal_log import Troubles
from emailrelay_receiver.content.received import received_line
from emailrelay_receiver.dialogue.dialogue import Capabilities

_FILTERD = 10.0
"""Seconds beyond its own time-outs after which filterd is taken for dead."""
_KEPT_BACK = 40
"""File descriptors for the store, listening sockets and connections that are being refused."""
_ASK_AFTER = 1024 * 1024
"""Octets of content after which the store is asked for its room: by so much less may be left free."""
_FORWARDING = 660.0
"""Seconds for the next server: 600 for its final dot (RFC 5321 section 4.5.3.2.6), and the way there."""


@dataclass(slots=True, kw_only=True)
class House:
    """The rules of the house, its store, and who is in."""

    offer: Capabilities
    store: Store
    stage: Stage
    """Where received mail begins: UNFILTERED or READY."""
    ack: Ack
    answer_within: float
    """Seconds after which a client that waits for more than storage is answered in any case."""
    admission: Admission
    report: Report
    clock: Callable[[], float]
    idle_timeout: float
    """Seconds of silence from a client after which it is told to go."""
    first_mail_timeout: float
    """The same before its first MAIL, if it has not logged in."""
    session_timeout: float
    """Seconds that a session may last, and the content of a message likewise."""
    troubles: Troubles
    remote_clients: bool = False
    gate: ClientRules
    """Who may come in and how; replaced as a whole when the settings change."""
    verifier: Verifier | None = None
    minimum_free: int = 0
    """Octets of room that mail must leave free."""
    login_pause: float = 1.0
    """Seconds by which each wrong password makes the next answer later."""
    attempts: LoginAttempts = field(default_factory=lambda: LoginAttempts(time.monotonic))
    """Who tries to log in."""
    talk: bool = False
    """Whether each line of the dialogues is told."""
    anonymous: frozenset[str] = field(default_factory=frozenset[str])
    """What we keep to ourselves: ``vrfy``, ``server``, ``content``, ``client``."""
    _unasked: int = 0
    """Octets of content written by all sessions since the store was asked for its room."""
    closing: bool = False
    """The service has been told to stop."""

    def takes(self, octets: int) -> bool:
        """Tell whether so many octets of content may be written, beside all that is being written.

        Few clients say how much they send. What they said is not set aside either: any client could
        then keep all room by mere words.
        """
        self._unasked += octets
        if self._unasked < _ASK_AFTER:
            return True
        self._unasked = 0
        room = self.room()
        return room is None or room >= octets

    def room(self) -> int | None:
        """Give the octets that may still be taken; None: there is no saying."""
        free = self.store.free()
        return None if free is None else free - self.minimum_free

    @property
    def greeting(self) -> str:
        """Say who we are (RFC 5321 section 4.2)."""
        name = "" if "server" in self.anonymous else " E-MailRelay"
        return f"{self.offer.domain} ESMTP{name} ready"

    def received(self, *, helo: str, client: str, protocol: str, queue_id: QueueId) -> bytes:
        """Give the line that stands in front of the content, or nothing when it is not wanted."""
        if "content" in self.anonymous:
            return b""
        # A unix socket's path is nobody else's business.
        return received_line(
            helo=helo,
            client="" if client.startswith("/") else client,
            domain=self.offer.domain,
            protocol=protocol,
            queue_id=queue_id,
            now=self.clock(),
        )

    def store_trouble(self, error: StoreError) -> None:
        """Tell the log why mail is refused for now; the client hears a general truth."""
        self.report(StoreTrouble(doing="taking a message in", reason=str(error)))


def _answer_within(settings: ReceiverSettings) -> float:
    filtering = len(settings.filter) * settings.filter_timeout
    return filtering + (_FORWARDING if settings.ack is Ack.DELIVERED else _FILTERD)


def _descriptors() -> int:
    """Give the connections for which there are file descriptors; a message being taken needs more."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (limit - _KEPT_BACK) // 2)


def _verifier(settings: ReceiverSettings) -> Verifier | None:
    if settings.address_verifier is None:
        return None
    return make_verifier(settings.address_verifier, settings.filter_timeout)


def make_house(
    settings: ReceiverSettings, store: Store, *, report: Report, clock: Callable[[], float]
) -> House:
    """Make the house that the settings describe."""
    anonymous = frozenset(settings.anonymous)
    return House(
        offer=Capabilities(
            domain=settings.domain or socket.gethostname(),
            size=settings.size,
            recipients=settings.recipients,
            refusals=max(1000, 10 * settings.recipients),
            vrfy="vrfy" not in anonymous,
            without=left_out(settings.server_smtp_config),
        ),
        store=store,
        stage=Stage.UNFILTERED if settings.filter else Stage.READY,
        ack=settings.ack,
        answer_within=_answer_within(settings),
        admission=Admission(min(settings.connections, _descriptors()), settings.client_connections),
        report=report,
        clock=clock,
        idle_timeout=settings.idle_timeout,
        first_mail_timeout=min(settings.first_mail_timeout, settings.idle_timeout),
        session_timeout=settings.session_timeout,
        remote_clients=settings.remote_clients,
        gate=make_gate(settings, report=report),
        verifier=_verifier(settings),
        minimum_free=settings.minimum_free,
        talk=settings.verbose or settings.debug,
        troubles=Troubles(report),
        anonymous=anonymous,
    )
