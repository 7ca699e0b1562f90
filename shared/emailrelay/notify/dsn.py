"""The text of a notice of failure: a delivery status notification (RFC 3464, RFC 6522).

Only the header of the original is returned (RFC 3462 allows that), shortened and cleaned: its
author is unknown, and a notice must not be a way to send mail under another name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.generator import BytesGenerator
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTPUTF8, compat32
from email.utils import formatdate
from io import BytesIO

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, History
from emailrelay.reply import Reply

LARGEST_HEADER = 64 * 1024
"""The most octets of the original's header that are returned."""
_LONGEST_LINE = 998
_UNKNOWN = Reply(554, "5.0.0 the reason is not known")
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_MESSAGE_ID = re.compile(
    rb"^message-id:[ \t]*(<[!-~]{3,250}>)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
_PORT = re.compile(r":[0-9]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRecipient:
    """The reason why one recipient did not get the message."""

    recipient: Address
    reply: Reply
    peer: str = ""
    """The server that gave the reply; empty if the reply is this relay's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """The facts in a notice. Times are seconds since 1970."""

    id: str
    """The notice's own id."""
    about: str
    """The failed message's id."""
    host: str
    sender: Address
    failures: tuple[FailedRecipient, ...]
    arrived: float | None
    last_attempt: float | None
    now: float
    header: bytes
    """The beginning of the original's header, or all of it."""


def failures(envelope: Envelope, history: History) -> tuple[FailedRecipient, ...]:
    """Return the recipients that were refused or given up, in the envelope's order."""
    reason = history.failed.reason if history.failed is not None else _UNKNOWN
    return tuple(
        FailedRecipient(recipient=address, reply=reason)
        if (reply := history.refused.get(address)) is None
        else FailedRecipient(
            recipient=address, reply=reply, peer=_peer(history.last_attempt, address)
        )
        for address in dict.fromkeys(envelope.recipients)
        if address not in history.delivered
    )


def _peer(attempt: Attempt | None, recipient: Address) -> str:
    """Return the server that refused a recipient, if the last attempt shows it."""
    return attempt.peer if attempt is not None and recipient in attempt.replies else ""


def compose(report: FailureReport) -> bytes:
    """Return the octets of the notice, with CRLF line ends."""
    notice = MIMEMultipart("report", report_type="delivery-status")
    notice["Date"] = formatdate(report.now, localtime=True)
    notice["From"] = f"Mail Delivery System <MAILER-DAEMON@{report.host}>"
    notice["To"] = report.sender
    notice["Subject"] = "Mail could not be delivered"
    notice["Message-ID"] = f"<{report.id}@{report.host}>"
    original = _MESSAGE_ID.search(report.header)
    if original is not None:
        notice["In-Reply-To"] = notice["References"] = original[1].decode()
    notice["Auto-Submitted"] = "auto-replied"
    notice.attach(_words(report))
    notice.attach(_status(report))
    notice.attach(_original(report.header))
    return _octets(notice, utf8=not report.sender.isascii())


def _octets(notice: Message, *, utf8: bool) -> bytes:
    # No folding: the envelope's addresses must stay unchanged.
    policy = SMTPUTF8 if utf8 else compat32.clone(linesep="\r\n", max_line_length=0)
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(notice)
    return buffer.getvalue()


def _words(report: FailureReport) -> MIMEText:
    """Return the part for people."""
    lines = [
        f"This is the mail system at host {report.host}.",
        "",
        "Your message could not be delivered to the recipients below, and will not be",
        "tried again. Its header is attached.",
        "",
    ]
    for failure in report.failures:
        # The reply comes from the server, or from this relay about its session with the server.
        said = f"{failure.peer}: " if failure.peer else ""
        lines += [f"<{failure.recipient}>", f"    {said}{failure.reply}", ""]
    text = "\n".join(lines)
    return MIMEText(text, "plain", "us-ascii" if text.isascii() else "utf-8")


def _status(report: FailureReport) -> Message:
    """Return the part for programs: a block for the message, then one for each recipient."""
    part = Message()
    part["Content-Type"] = "message/delivery-status"
    part.set_payload(
        [_block(_of_message(report)), *(_block(_of(f, report)) for f in report.failures)]
    )
    return part


def _block(fields: Iterator[tuple[str, str]]) -> Message:
    block = Message()
    for name, value in fields:
        block[name] = value
    return block


def _of_message(report: FailureReport) -> Iterator[tuple[str, str]]:
    yield "Reporting-MTA", f"dns; {report.host}"
    yield "X-MailRelay-Id", report.about
    if report.arrived is not None:
        yield "Arrival-Date", formatdate(report.arrived, localtime=True)


def _of(failure: FailedRecipient, report: FailureReport) -> Iterator[tuple[str, str]]:
    yield "Final-Recipient", _typed(failure.recipient)
    yield "Action", "failed"
    yield "Status", status(failure.reply)
    if failure.peer:
        yield "Remote-MTA", f"dns; {_PORT.sub('', failure.peer)}"
    kind = "smtp" if failure.peer else "x-emailrelay"
    yield "Diagnostic-Code", f"{kind}; {_ascii(str(failure.reply))}"
    if report.last_attempt is not None:
        yield "Last-Attempt-Date", formatdate(report.last_attempt, localtime=True)


def _typed(address: Address) -> str:
    """Return an address with its type; a non-ASCII one in the spelling of RFC 6533 section 3."""
    if address.isascii():
        return f"rfc822; {address}"
    return "utf-8; " + "".join(
        c if c.isascii() and c not in "\\+=" else f"\\x{{{ord(c):X}}}" for c in address
    )


def status(reply: Reply) -> str:
    """Return a reply's status code (RFC 3463): its own, else the general one of its class."""
    match = _STATUS.match(reply.text)
    if match is not None and match[1][0] == str(reply.code)[0]:
        return match[1]
    return "4.0.0" if 400 <= reply.code <= 499 else "5.0.0"


def _original(header: bytes) -> Message:
    part = Message()
    part["Content-Type"] = "text/rfc822-headers"
    part.set_payload(clean(header))
    return part


def clean(header: bytes) -> str:
    """Clean a header of unknown origin: only ASCII lines of legal length, and no body."""
    cut = header[:LARGEST_HEADER]
    ended = re.search(rb"\r?\n\r?\n", cut)
    text = (cut[: ended.start()] if ended else cut).decode("ascii", errors="replace")
    lines = re.split(r"\r?\n", text)
    return "".join(f"{_ascii(line)[:_LONGEST_LINE]}\n" for line in lines if line.strip())


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" or c == "\t" else "?" for c in text)
