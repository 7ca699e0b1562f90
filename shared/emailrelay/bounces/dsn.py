"""The text of a notice of failure: a delivery status notification (RFC 3464, RFC 6522).

A sender who asked for the whole message (``RET=FULL``) gets it back, if it is small. All others
get its header (RFC 6522 section 4), shortened and cleaned: the author is unknown, and a notice must
not be a way to send mail under another name.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.generator import BytesGenerator
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTPUTF8, compat32
from email.utils import formatdate
from io import BytesIO

from emailrelay import envelope_format
from emailrelay.bounces.failures import FailedRecipient
from emailrelay.dsn_request import Return
from emailrelay.envelope import Address
from emailrelay.reply import Reply

LARGEST_RETURN = 64 * 1024
"""The most octets of the original that are returned."""
MOST_NAMED = 1000
"""The most recipients that a notice names. It only counts the others: servers refuse a notice of
many megabytes, and it would keep a forwarder busy for minutes."""
_LONGEST_LINE = 998
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_MESSAGE_ID = re.compile(
    rb"^message-id:[ \t]*(<[!-~]{3,250}>)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
_PORT = re.compile(r":[0-9]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """The facts in a notice. Times are seconds since 1970."""

    id: str
    """The notice's own id."""
    about: str
    """The failed message's id."""
    host: str
    to: tuple[Address, ...]
    failures: tuple[FailedRecipient, ...]
    arrived: float | None
    last_attempt: float | None
    now: float
    beginning: bytes
    """The first octets of the original: at most ``LARGEST_RETURN`` and one more."""
    envelope_id: str = ""
    """``ENVID`` as given, or empty."""
    give_back: Return | None = None


def compose(report: FailureReport) -> bytes:
    """Return the octets of the notice, with CRLF line ends."""
    notice = start(report.id, report.host, report.to, report.now, "Mail could not be delivered")
    original = _MESSAGE_ID.search(_header(report.beginning))
    if original is not None:
        notice["In-Reply-To"] = notice["References"] = original[1].decode()
    whole = _is_returned(report)
    notice.attach(_words(report, whole=whole))
    notice.attach(_status(report))
    if not whole:
        notice.attach(_original(report.beginning))
        return octets(notice)
    notice.set_boundary(_boundary(report.id, report.beginning))
    return _with_message(octets(notice), report.beginning)


def start(
    message: str, host: str, to: Sequence[Address], now: float, subject: str
) -> MIMEMultipart:
    """Return a notice without its parts; ``message`` is its id."""
    notice = MIMEMultipart("report", report_type="delivery-status")
    notice["Date"] = formatdate(now, localtime=True)
    notice["From"] = f"Mail Delivery System <MAILER-DAEMON@{host}>"
    notice["To"] = ", ".join(to)
    notice["Subject"] = subject
    notice["Message-ID"] = f"<{message}@{host}>"
    notice["Auto-Submitted"] = "auto-replied"
    return notice


def _is_returned(report: FailureReport) -> bool:
    """Return whether the whole original goes back; only if every server can pass it on."""
    octets_of_it = report.beginning
    lines = octets_of_it.split(b"\r\n")
    return (
        report.give_back is Return.FULL
        and 0 < len(octets_of_it) <= LARGEST_RETURN
        and not any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines)
        and max(map(len, lines)) <= _LONGEST_LINE
    )


def _boundary(message: str, content: bytes) -> str:
    """Return a boundary that the content does not contain."""
    boundary = f"=_{message}"
    while boundary.encode() in content:
        boundary += "_"
    return boundary


def _with_message(notice: bytes, content: bytes) -> bytes:
    """Add the original as the last part, unchanged: a parser would not write it back as it was."""
    parts, mark, boundary = notice.rpartition(b"--")[0].rpartition(b"\r\n--")
    line = mark + boundary
    coding = b"" if content.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    head = b"\r\nContent-Type: message/rfc822\r\n" + coding + b"\r\n"
    return b"".join((parts, line, head, content, line, b"--\r\n"))


def octets(notice: Message) -> bytes:
    """Return the octets of a complete notice."""
    # No folding: the envelope's addresses must stay unchanged. To fold a field, Python parses it,
    # in a time that grows with the square of its length.
    utf8 = not str(notice["To"]).isascii()
    policy = (SMTPUTF8 if utf8 else compat32).clone(linesep="\r\n", max_line_length=0)
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(notice)
    return buffer.getvalue()


def _words(report: FailureReport, *, whole: bool) -> MIMEText:
    """Return the part for people."""
    attached = "It is attached." if whole else "Its header is attached."
    lines = [
        f"This is the mail system at host {report.host}.",
        "",
        "Your message could not be delivered to the recipients below, and will not be",
        f"tried again. {attached}",
        "",
    ]
    for failure in report.failures[:MOST_NAMED]:
        # The reply comes from the server, or from this relay about its session with the server.
        said = f"{failure.peer}: " if failure.peer else ""
        lines += [f"<{failure.recipient}>", f"    {said}{failure.reply}", ""]
    more = len(report.failures) - MOST_NAMED
    if more > 0:
        lines += [f"and {more} more recipients, which this notice does not name.", ""]
    return plain("\n".join(lines))


def plain(text: str) -> MIMEText:
    """Return a part with text for people."""
    return MIMEText(text, "plain", "us-ascii" if text.isascii() else "utf-8")


def _status(report: FailureReport) -> Message:
    """Return the part for programs: a block for the message, then one for each recipient."""
    return status_part(_of_message(report), report.failures, report.last_attempt)


def status_part(
    about: Iterator[tuple[str, str]],
    failed: Sequence[FailedRecipient],
    last_attempt: float | None = None,
) -> Message:
    """Return the part for programs, from the fields about the message and its first recipients."""
    part = Message()
    part["Content-Type"] = "message/delivery-status"
    part.set_payload([_block(about), *(_block(_of(f, last_attempt)) for f in failed[:MOST_NAMED])])
    return part


def _block(fields: Iterator[tuple[str, str]]) -> Message:
    block = Message()
    for name, value in fields:
        block[name] = value
    return block


def _of_message(report: FailureReport) -> Iterator[tuple[str, str]]:
    yield "Reporting-MTA", f"dns; {report.host}"
    if report.envelope_id:
        yield "Original-Envelope-Id", _decoded(report.envelope_id)
    yield "X-MailRelay-Id", report.about
    if report.arrived is not None:
        yield "Arrival-Date", formatdate(report.arrived, localtime=True)


def _of(failure: FailedRecipient, last_attempt: float | None) -> Iterator[tuple[str, str]]:
    kind, semicolon, address = failure.original.partition(";")
    if semicolon:
        yield "Original-Recipient", f"{_ascii(kind)}; {_decoded(address)}"
    yield "Final-Recipient", _typed(failure.recipient)
    yield "Action", "failed"
    yield "Status", status(failure.reply)
    if failure.peer:
        yield "Remote-MTA", f"dns; {_ascii(_PORT.sub('', failure.peer))}"
    kind = "smtp" if failure.peer else "x-emailrelay"
    yield "Diagnostic-Code", f"{kind}; {_ascii(str(failure.reply))}"
    if last_attempt is not None:
        yield "Last-Attempt-Date", formatdate(last_attempt, localtime=True)
    if failure.about:
        yield "X-MailRelay-Id", failure.about


def _decoded(text: str) -> str:
    try:
        return _ascii(envelope_format.from_xtext(text))
    except ValueError:  # RFC 6533 allows addresses that are not xtext
        return _ascii(text)


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
    text = _header(header).decode("ascii", errors="replace")
    lines = re.split(r"\r?\n", text)
    return "".join(f"{_ascii(line)[:_LONGEST_LINE]}\n" for line in lines if line.strip())


def _header(beginning: bytes) -> bytes:
    cut = beginning[:LARGEST_RETURN]
    ended = re.search(rb"\r?\n\r?\n", cut)
    return cut[: ended.start()] if ended else cut


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" or c == "\t" else "?" for c in text)
