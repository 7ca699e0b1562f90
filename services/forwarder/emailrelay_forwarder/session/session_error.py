"""What stops a session with a server, as one exception, whatever library or socket said so."""

import os
import ssl
from enum import StrEnum

from emailrelay.errors import RelayError
from emailrelay.reply import Reply


class SessionStep(StrEnum):
    """How far a session had come: what it was doing when it stopped."""

    CONNECT = "connecting"
    GREETING = "the greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    TLS = "the TLS handshake"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "the message text"
    DOT = "the final dot"
    RSET = "RSET"
    QUIT = "QUIT"


class SessionError(RelayError):
    """The session is over; what was not answered yet is to be tried again.

    Always temporary: a refusal of one message or recipient is a ``Reply`` and no exception, and a 5yz
    to the greeting or EHLO is about us or the server, never about the mail that waits.
    """

    def __init__(self, step: SessionStep, reply: Reply, *, ours: bool = False) -> None:
        """Take the server's reply, or one of ours (4yz) that says what this relay found.

        As text a trouble tells which of the two it is.
        """
        super().__init__(str(reply) if ours else f"the server said at {step}: {reply}")
        self.step = step
        self.reply = reply
        self.ours = ours


class NoSlot(SessionError):
    """All connections of the route are in use, other processes' among them: no fault of the server."""

    def __init__(self, why: str) -> None:
        """Say which."""
        super().__init__(SessionStep.CONNECT, Reply.of(451, f"4.4.5 {why}"), ours=True)


class NoToken(SessionError):
    """Our account has no token now. The server was not asked, so nothing counts against us there."""

    def __init__(self, why: str) -> None:
        """Say why there is none, and what to do."""
        super().__init__(SessionStep.AUTH, Reply.of(454, f"4.7.0 {why}"), ours=True)


class NotYet(SessionError):
    """The route has sent as much as it may for now."""

    def __init__(self, reply: Reply, again: float) -> None:
        """Take when the message's turn will be (seconds since 1970)."""
        super().__init__(SessionStep.MAIL, reply, ours=True)
        self.again = again


def cut_off(step: SessionStep, why: str) -> SessionError:
    """Describe a connection that ended or fell silent (RFC 3463: 4.4.2)."""
    return SessionError(step, Reply.of(451, f"4.4.2 {why} at {step}"), ours=True)


def garbled(step: SessionStep, why: str) -> SessionError:
    """Describe a server that broke the protocol (RFC 3463: 4.5.0)."""
    reply = Reply.of(451, f"4.5.0 protocol error of the server at {step}: {why}")
    return SessionError(step, reply, ours=True)


def unreachable(why: str) -> SessionError:
    """Describe a server to which no connection could be made (RFC 3463: 4.4.1)."""
    return SessionError(SessionStep.CONNECT, Reply.of(451, f"4.4.1 {why}"), ours=True)


def in_words(error: Exception) -> str:
    """Say what a system call or TLS met with, without its number: ``connection refused``."""
    said: str | None = None
    if isinstance(error, ssl.SSLError):  # its number is of another list
        said = (getattr(error, "reason", None) or "").lower().replace("_", " ")
    elif isinstance(error, OSError):
        number = error.errno or 0  # getaddrinfo's are negative
        said = os.strerror(number) if number > 0 else error.strerror
    said = said or str(error)
    return said[0].lower() + said[1:] if said else type(error).__name__


def unprotected(step: SessionStep, why: str) -> SessionError:
    """Describe a connection that may not be used for want of protection (RFC 5248: 4.7.10, 4.7.5)."""
    code = "4.7.10" if step is SessionStep.STARTTLS else "4.7.5"
    return SessionError(step, Reply.of(454, f"{code} {why}"), ours=True)


def not_signed_in(why: str) -> SessionError:
    """Describe an account that cannot be used; the server was not even asked (RFC 3463: 4.7.0)."""
    return SessionError(SessionStep.AUTH, Reply.of(454, f"4.7.0 {why}"), ours=True)
