"""Through the receiver on this host, for everybody else."""

from collections.abc import Iterable
from smtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from emailrelay.envelope import Address

_TIMEOUT = 300.0
"""Seconds; RFC 5321 section 4.5.3.2 allows a server that long for most commands."""


class NotTaken(Exception):
    """The receiver did not take the message. ``permanent``: and will not."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.permanent = permanent


def send(port: int, sender: Address, recipients: Iterable[Address], content: bytes) -> None:
    """Send a message; all recipients are taken, or it is an error.

    Raises:
        NotTaken: there is nobody at the port, or it refused.

    """
    options = [] if content.isascii() else ["BODY=8BITMIME"]
    try:
        with SMTP("localhost", port, timeout=_TIMEOUT) as server:
            refused = server.sendmail(sender, list(recipients), content, mail_options=options)
    except SMTPRecipientsRefused as error:
        raise _refused(error.recipients) from error
    except SMTPResponseException as error:
        text = _text(error.smtp_error)
        raise NotTaken(f"{error.smtp_code} {text}", permanent=error.smtp_code >= 500) from error
    except (OSError, SMTPException) as error:
        raise NotTaken(f"localhost port {port}: {error}", permanent=False) from error
    if refused:
        raise _refused(refused)


def _refused(replies: dict[str, tuple[int, bytes]]) -> NotTaken:
    words = "; ".join(
        f"{address}: {code} {_text(text)}" for address, (code, text) in replies.items()
    )
    return NotTaken(words, permanent=all(code >= 500 for code, _ in replies.values()))


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said
