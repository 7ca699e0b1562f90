"""The envelope file: fixed fields in fixed order, an end mark, then the journal.

A field is ``X-MailRelay-<Key>: <value>`` CRLF; an empty value keeps the blank after the colon.
Format ``#2821.8`` is written; ``#2821.3`` to ``.8`` are read, the older ones without the later
fields. Readers accept LF. The writer refuses a value that could break out of its line, and never
escapes it.

Programs that know the format read exactly these fields before the end mark. So our own fields are
the first lines after it: the Message-ID, and the facts about the session as JSON.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from emailrelay import arrival_facts, journal_line
from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.envelope import MOST_RECIPIENTS, Address, Body, Envelope
from emailrelay.errors import DamagedMessage
from emailrelay.message_id import kept

FORMAT = "#2821.8"
_KNOWN_FORMATS = frozenset(f"#2821.{n}" for n in range(3, 9))
_END_MARK = b"\nX-MailRelay-End:"
_MESSAGE_ID = b"X-MailRelay-MessageId: "
_ARRIVAL = "Arrival"
_ARRIVAL_FIELD = b"X-MailRelay-Arrival: "
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
_NOT_PLAIN = re.compile(rb"[^!-*,-<>-~]")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_FOLDED = "ClientCertificate"
"""The only field of several lines: PEM."""
_FOLD = "\r"
"""Marks a continued line while a file is read: no text has a CR then."""
_FIELD = re.compile(r"^X-MailRelay-([^:\r\n]*): ?(.*)\n", re.MULTILINE)
_TO_REMOTE = "X-MailRelay-To-Remote: "
_AS_WRITTEN = re.compile(
    f"X-MailRelay-Format: {re.escape(FORMAT)}\r\n"
    "X-MailRelay-Content: (.*)\r\n"
    "X-MailRelay-From: (.*)\r\n"
    "X-MailRelay-ToCount: ([1-9][0-9]{0,4})\r\n"
    f"((?:{_TO_REMOTE}.*\r\n)+)"
    "X-MailRelay-Authentication: (.*)\r\n"
    "X-MailRelay-Client: (.*)\r\n"
    f"X-MailRelay-{_FOLDED}: \r\n"
    "X-MailRelay-MailFromAuthIn: (.*)\r\n"
    "X-MailRelay-MailFromAuthOut: (.*)\r\n"
    "X-MailRelay-ForwardTo: (.*)\r\n"
    "X-MailRelay-ForwardToAddress: (.*)\r\n"
    "X-MailRelay-ClientAccountSelector: (.*)\r\n"
    "X-MailRelay-Utf8MailboxNames: ([01])\r\n"
)
"""The fields before the end mark as ``write`` gives them, without certificate and local users."""
_BODIES: Mapping[str, Body] = {body.value: body for body in Body}
_NEEDED = ("Format", "From", "ToCount")
"""The fields that every format has, once each."""
_ABSENT = dict.fromkeys(
    (
        "Content",
        "Authentication",
        "Client",
        _FOLDED,
        "MailFromAuthIn",
        "MailFromAuthOut",
        "ForwardTo",
        "ForwardToAddress",
        "ClientAccountSelector",
        "Utf8MailboxNames",
    ),
    "",
)
"""The other fields with one value, as they are read where they are absent."""


class EnvelopeFile(NamedTuple):
    """A parsed envelope file: the envelope, and the octets after its fields: the journal."""

    envelope: Envelope
    tail: bytes


def to_xtext(text: str) -> str:
    """Encode as xtext (RFC 3461 section 4)."""
    if not text:
        return ""
    return _NOT_PLAIN.sub(lambda octet: b"+%02X" % ord(octet[0]), text.encode()).decode()


def is_xtext(text: str) -> bool:
    """Tell whether a text is xtext (RFC 3461 section 4)."""
    return _XTEXT.fullmatch(text) is not None


def from_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 section 4).

    Raises:
        ValueError: not xtext, or not UTF-8 within.

    """
    if not is_xtext(text):
        raise ValueError(text)
    octets = re.sub(r"\+([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), text)
    return octets.encode("latin-1").decode()


def write(envelope: Envelope) -> bytes:
    """Return the octets of the file before its journal.

    Raises:
        ValueError: a value holds a control character or line separator, or there are more
            recipients than ``parse`` accepts.

    """
    recipients = len(envelope.to_local) + len(envelope.to_remote)
    if recipients > MOST_RECIPIENTS:
        raise ValueError(f"{recipients} recipients, at most {MOST_RECIPIENTS} are possible")
    folded = envelope.client_certificate.removesuffix("\n").replace("\n", "\r\n ")
    _refuse_unsafe(envelope)
    local = "".join([f"X-MailRelay-To-Local: {each}\r\n" for each in envelope.to_local])
    remote = "".join([f"X-MailRelay-To-Remote: {each}\r\n" for each in envelope.to_remote])
    octets = (
        f"X-MailRelay-Format: {FORMAT}\r\n"
        f"X-MailRelay-Content: {envelope.body}\r\n"
        f"X-MailRelay-From: {envelope.sender}\r\n"
        f"X-MailRelay-ToCount: {recipients}\r\n"
        f"{local}{remote}"
        f"X-MailRelay-Authentication: {to_xtext(envelope.authentication)}\r\n"
        f"X-MailRelay-Client: {envelope.client}\r\n"
        f"X-MailRelay-{_FOLDED}: {folded}\r\n"
        f"X-MailRelay-MailFromAuthIn: {envelope.mail_from_auth_in}\r\n"
        f"X-MailRelay-MailFromAuthOut: {envelope.mail_from_auth_out}\r\n"
        f"X-MailRelay-ForwardTo: {to_xtext(envelope.forward_to)}\r\n"
        f"X-MailRelay-ForwardToAddress: {envelope.forward_to_address}\r\n"
        f"X-MailRelay-ClientAccountSelector: {envelope.account_selector}\r\n"
        f"X-MailRelay-Utf8MailboxNames: {int(envelope.utf8)}\r\n"
        "X-MailRelay-End: 1\r\n"
    ).encode()
    if envelope.message_id:
        octets += b"%b%b\r\n" % (_MESSAGE_ID, envelope.message_id.encode())
    if envelope.arrival is not None:
        octets += _arrival_line(envelope.arrival)
    return octets


@lru_cache(maxsize=256)  # the messages of one client have the same facts
def _arrival_line(facts: ArrivalFacts) -> bytes:
    return journal_line.write(_ARRIVAL, arrival_facts.encode(facts))


def _refuse_unsafe(envelope: Envelope) -> None:
    """Look at all values at once; see ``write``."""
    texts = "".join(
        (
            envelope.sender,
            *envelope.to_local,
            *envelope.to_remote,
            envelope.authentication,
            envelope.client,
            envelope.client_certificate.replace("\n", ""),
            envelope.mail_from_auth_in,
            envelope.mail_from_auth_out,
            envelope.forward_to,
            envelope.forward_to_address,
            envelope.account_selector,
            envelope.message_id,
        )
    )
    if _is_unsafe(texts):
        raise ValueError("envelope: control character in a field")


def _is_unsafe(text: str) -> bool:
    # Most texts are printable, and quickly checked.
    return not text.isprintable() and _UNSAFE.search(text) is not None


def parse(octets: bytes) -> EnvelopeFile:
    """Read a whole envelope file.

    Raises:
        DamagedMessage: the file is empty, truncated, of an unknown format, or contradictory.

    """
    fields, end = _split(octets)
    message_id, begin = _message_id(octets, end)
    arrival, begin = _arrival(octets, begin)
    envelope = _as_written(fields, message_id, arrival)
    if envelope is None:
        envelope = _of_lines(_lines(_text(fields)))._replace(message_id=message_id, arrival=arrival)
    return EnvelopeFile(envelope, octets[begin:])


def _as_written(octets: bytes, message_id: str, arrival: ArrivalFacts | None) -> Envelope | None:
    """Read the fields as one expression, in a fifth of the time; None: ``_of_lines`` reads them."""
    try:
        found = _AS_WRITTEN.fullmatch(octets.decode())
    except UnicodeDecodeError:
        return None
    if found is None:
        return None
    values = found.groups()
    body, sender, count, to, user, client, auth_in, auth_out, forward_to, address, account, utf8 = (
        values
    )
    remote = to[len(_TO_REMOTE) : -2].split(f"\r\n{_TO_REMOTE}")
    plain = "".join((*remote, sender, user, client, *values[6:])).isprintable()
    if not plain or body not in _BODIES or int(count) != len(remote):
        return None
    return Envelope(
        sender=Address(sender),
        to_remote=tuple(map(Address, remote)),
        body=_BODIES[body],
        authentication=_decoded(user),
        client=client,
        mail_from_auth_in=auth_in,
        mail_from_auth_out=auth_out,
        forward_to=_decoded(forward_to),
        forward_to_address=address,
        account_selector=account,
        utf8=utf8 == "1",
        message_id=message_id,
        arrival=arrival,
    )


def _of_lines(found: Sequence[tuple[str, str]]) -> Envelope:
    """Return the envelope in the lines of any known format."""
    fields = _by_name(found)
    if fields["Format"] not in _KNOWN_FORMATS:
        raise DamagedMessage("envelope: unknown format")
    local = tuple([Address(value) for name, value in found if name == "To-Local"])
    remote = tuple([Address(value) for name, value in found if name == "To-Remote"])
    recipients = len(local) + len(remote)
    if fields["ToCount"] != str(recipients):
        raise DamagedMessage("envelope: ToCount differs from the number of recipients")
    if not 0 < recipients <= MOST_RECIPIENTS:
        raise DamagedMessage("envelope: no recipients, or too many")
    return Envelope(
        sender=Address(fields["From"]),
        to_local=local,
        to_remote=remote,
        body=_BODIES.get(fields["Content"].lower(), Body.UNKNOWN),
        authentication=_decoded(fields["Authentication"]),
        client=fields["Client"],
        client_certificate=_pem(fields[_FOLDED]),
        mail_from_auth_in=fields["MailFromAuthIn"],
        mail_from_auth_out=fields["MailFromAuthOut"],
        forward_to=_decoded(fields["ForwardTo"]),
        forward_to_address=fields["ForwardToAddress"],
        account_selector=fields["ClientAccountSelector"],
        utf8=fields["Utf8MailboxNames"] == "1",
    )


def tail(octets: bytes) -> bytes:
    """Return the tail of a file whose fields ``parse`` has read before.

    Raises:
        DamagedMessage: there is no end mark.

    """
    mark = octets.find(_END_MARK) + 1
    end = octets.find(b"\n", mark) + 1
    if not (mark and end):
        raise DamagedMessage("envelope: cut short, no end mark")
    return octets[_arrival(octets, _message_id(octets, end)[1])[1] :]


def salvage(octets: bytes) -> Envelope | None:
    """Read sender and recipients from a damaged envelope file, for the notice of the damage.

    None: the file does not have, in whole lines, one sender and a recipient.
    """
    lines = octets[: octets.rfind(b"\n") + 1].decode(errors="replace").replace("\r\n", "\n")
    fields: list[tuple[str, str]] = _FIELD.findall(lines)
    senders = [value for key, value in fields if key == "From"]
    local, remote = ([v for key, v in fields if key == kind] for kind in ("To-Local", "To-Remote"))
    addresses = [*senders, *local, *remote]
    if len(senders) != 1 or len(addresses) == 1 or any(_spoilt(value) for value in addresses):
        return None
    return Envelope(
        sender=Address(senders[0]),
        to_local=tuple(map(Address, local)),
        to_remote=tuple(map(Address, remote)),
    )


def _spoilt(address: str) -> bool:
    return "\N{REPLACEMENT CHARACTER}" in address or _is_unsafe(address)


def _split(octets: bytes) -> tuple[bytes, int]:
    """Return the lines before the end mark, and the offset after that mark."""
    mark = octets.find(_END_MARK) + 1
    end = octets.find(b"\n", mark) + 1
    if mark and end:
        return octets[:mark], end
    if not octets.strip():
        raise DamagedMessage("envelope: empty")
    if whole := octets[: octets.rfind(b"\n") + 1]:
        _lines(_text(whole))  # raises if it is not an envelope at all
    raise DamagedMessage("envelope: cut short, no end mark")


def _message_id(octets: bytes, begin: int) -> tuple[str, int]:
    """Return the Message-ID after the end mark, and the offset behind its line.

    Another program's line, or one that is torn, is left to the journal, which skips it.
    """
    if not octets.startswith(_MESSAGE_ID, begin):
        return "", begin
    end = octets.find(b"\n", begin)
    found = kept(octets[begin + len(_MESSAGE_ID) : end].removesuffix(b"\r")) if end > 0 else ""
    return (found, end + 1) if found else ("", begin)


def _arrival(octets: bytes, begin: int) -> tuple[ArrivalFacts | None, int]:
    """Return the facts about the session, and the offset behind their line; see ``_message_id``."""
    if not octets.startswith(_ARRIVAL_FIELD, begin):
        return None, begin
    end = octets.find(b"\n", begin)
    line = octets[begin + len(_ARRIVAL_FIELD) : end] if end > 0 else b""
    found = arrival_facts.decode(line)
    return (None, begin) if found is None else (found, end + 1)


def _text(octets: bytes) -> str:
    try:
        text = octets.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DamagedMessage("envelope: not UTF-8") from error
    if _is_unsafe(text.replace("\n", "")):
        raise DamagedMessage("envelope: control character in a field")
    return text


def _lines(text: str) -> list[tuple[str, str]]:
    """Return names and values of the fields in their order."""
    lines = text.replace("\n ", _FOLD)
    found: list[tuple[str, str]] = _FIELD.findall(lines)
    if len(found) != lines.count("\n") or (
        _FOLD in lines and any(_FOLD in value for key, value in found if key != _FOLDED)
    ):
        raise DamagedMessage("envelope: a line is not a field")
    return found


def _by_name(found: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return the values by their names; of several with one name the first counts."""
    names = [name for name, _ in found]
    for name in _NEEDED:
        if names.count(name) != 1:
            raise DamagedMessage(f"envelope: {names.count(name)} fields {name}, 1 expected")
    return {**_ABSENT, **dict(reversed(found))}


def _pem(value: str) -> str:
    return value.replace(_FOLD, "\n") + "\n" if value else ""


def _decoded(value: str) -> str:
    """Decode xtext; return plain text of another program unchanged."""
    if "+" not in value:
        return value
    try:
        text = from_xtext(value)
    except ValueError:
        return value
    if _is_unsafe(text):
        raise DamagedMessage("envelope: control character in a field")
    return text
