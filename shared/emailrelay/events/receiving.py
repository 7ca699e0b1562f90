"""The events of clients that send mail.

``client`` is an IP address or the path of a unix socket, and ``port`` its TCP port or 0.
"""

from typing import ClassVar

from emailrelay.events.event import Event, Level
from emailrelay.events.mail_event import MailEvent
from emailrelay.queue_id import QueueId


class Received(MailEvent):
    """A message is durable, and the client got 250."""

    batched: ClassVar[bool] = True
    id: QueueId
    size: int
    port: int = 0
    client: str
    seconds: float = 0.0
    """The time that the store took to make it durable."""


class Rejected(MailEvent):
    """A client got a refusal; ``command`` is the verb of the refused SMTP command.

    At RCPT the recipient is the refused one. An unknown verb is ``(unknown)``: clients sometimes
    send passwords where a command belongs.
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
    """The next server's answer to RCPT is unknown. The client gets 250, the delivery decides."""

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
