"""The error that ends a session with a server, whatever library or system call it came from."""

import os
import ssl
from enum import StrEnum

from emailrelay.errors import RelayError
from emailrelay.reply import Reply


class SessionStep(StrEnum):
    """The step of a session at which it ended."""

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
    """The session is over; messages without an answer are tried again.

    Always temporary: a refusal of one message or recipient is a ``Reply`` and no exception. A 5yz
    to the greeting or EHLO concerns us or the server, never the waiting mail.
    """

    def __init__(self, step: SessionStep, reply: Reply, *, ours: bool = False) -> None:
        """Take the reply of the server, or one of ours (4yz) with the finding of this relay.

        The text of the error says which of the two it is.
        """
        super().__init__(str(reply) if ours else f"the server said at {step}: {reply}")
        self.step = step
        self.reply = reply
        self.ours = ours


class NoSlot(SessionError):
    """All connections of the route are in use, also by other processes: no error of the server."""

    def __init__(self, why: str) -> None:
        """Take the text for the log, which names the route."""
        super().__init__(SessionStep.CONNECT, Reply.of(451, f"4.4.5 {why}"), ours=True)


class NoToken(SessionError):
    """Our account has no token now. The server was not asked, so no login failed there."""

    def __init__(self, why: str) -> None:
        """Take the reason, and what to do."""
        super().__init__(SessionStep.AUTH, Reply.of(454, f"4.7.0 {why}"), ours=True)


class NotYet(SessionError):
    """The route or the server has reached its rate."""

    def __init__(self, reply: Reply, again: float) -> None:
        """Take the time of the message's turn (seconds since 1970)."""
        super().__init__(SessionStep.MAIL, reply, ours=True)
        self.again = again


def cut_off(step: SessionStep, why: str) -> SessionError:
    """Return the error for a connection that ended or became silent (RFC 3463: 4.4.2)."""
    return SessionError(step, Reply.of(451, f"4.4.2 {why} at {step}"), ours=True)


def garbled(step: SessionStep, why: str) -> SessionError:
    """Return the error for a violation of the protocol (RFC 3463: 4.5.0)."""
    reply = Reply.of(451, f"4.5.0 protocol error of the server at {step}: {why}")
    return SessionError(step, reply, ours=True)


def unreachable(why: str) -> SessionError:
    """Return the error for a failed connection (RFC 3463: 4.4.1)."""
    return SessionError(SessionStep.CONNECT, Reply.of(451, f"4.4.1 {why}"), ours=True)


def in_words(error: Exception) -> str:
    """Return the text of an error without its number, such as ``connection refused``."""
    said: str | None = None
    if isinstance(error, ssl.SSLError):  # its number is of another list
        said = (getattr(error, "reason", None) or "").lower().replace("_", " ")
    elif isinstance(error, OSError):
        number = error.errno or 0  # getaddrinfo's are negative
        said = os.strerror(number) if number > 0 else error.strerror
    said = said or str(error)
    return said[0].lower() + said[1:] if said else type(error).__name__


def unprotected(step: SessionStep, why: str) -> SessionError:
    """Return the error for a connection without the required TLS (RFC 5248: 4.7.10, 4.7.5)."""
    code = "4.7.10" if step is SessionStep.STARTTLS else "4.7.5"
    return SessionError(step, Reply.of(454, f"{code} {why}"), ours=True)


def not_signed_in(why: str) -> SessionError:
    """Return the error for an account that cannot be used; the server was not asked (4.7.0)."""
    return SessionError(SessionStep.AUTH, Reply.of(454, f"4.7.0 {why}"), ours=True)
