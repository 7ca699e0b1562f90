"""The arguments of commands: read into values, or refused."""

import re
from typing import NamedTuple

from emailrelay.dsn_request import NO_WISHES, Notify, RecipientRequest, Return
from emailrelay.envelope import NULL_SENDER, Address, Body
from emailrelay.envelope_format import is_xtext
from emailrelay.reply import Reply
from emailrelay_receiver.dialogue.outcomes import ReceiveChunk

LONGEST_COMMAND = 512
"""Octets of a command line with its CRLF (RFC 5321 section 4.5.3.1.4)."""

_ROOM_FOR_PARAMETERS = {
    # SIZE (RFC 1870 section 3) 26, BODY (RFC 6152) 17, SMTPUTF8 (RFC 6531 section 3.4) 10,
    # AUTH (RFC 4954 section 3) 500, RET and ENVID (RFC 3461 sections 5.3 and 5.4) 8 and 107
    b"MAIL": 26 + 17 + 10 + 500 + 8 + 107,
    # NOTIFY and ORCPT (RFC 3461 sections 5.1 and 5.2) 28 and 501
    b"RCPT": 10 + 28 + 501,
    b"AUTH": 12288 - LONGEST_COMMAND,  # RFC 4954 section 4
}
_LONGEST_LOCAL_PART = 256
"""Octets; RFC 5321 section 4.5.3.1.1 asks for 64, and longer ones are in use."""
_LONGEST_DOMAIN = 255

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ATOM = r'[^\s()<>,;:\\"@\[\]]'
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PATH = re.compile(
    # A source route is read and ignored (RFC 5321 appendix C). One character at a time and no
    # nested repetition, so that no input makes the match slow.
    rf"<(?:@[^:<>\"\\]*:(?!>))?(?P<address>(?P<local>(?:{_ATOM}|{_QUOTED})*)"
    rf"(?:@(?P<domain>{_ATOM}+|\[[^\s\[\]\\<>@]+\]))?)>(?P<rest>[ \t].*)?"
)
_WORD = re.compile(r"[^ \t<>]+")
_PARAMETER = re.compile(r"(?P<word>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[!-<>-~]+))?")
_SIZE = re.compile(r"[0-9]{1,20}")
_CHUNK = re.compile(rb"([0-9]{1,20})([ \t]+LAST)?", re.IGNORECASE)
_ATOMS = re.compile(r"[A-Za-z0-9-]+")


class Refused(Exception):
    """A command that is answered with ``reply`` and changes nothing."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class MailParameters(NamedTuple):
    """The parameters of a MAIL command."""

    size: int | None = None
    """Octets that the client announces (RFC 1870)."""
    body: Body = Body.UNKNOWN
    utf8: bool = False
    auth: str = ""
    """The first submitter, as xtext or ``<>`` (RFC 4954 section 5)."""
    give_back: Return | None = None
    envelope_id: str = ""
    """xtext (RFC 3461 section 4.4)."""


NO_PARAMETERS = MailParameters()


def longest_command(verb: bytes) -> int:
    """Return the most octets of a command with its CRLF."""
    return LONGEST_COMMAND + _ROOM_FOR_PARAMETERS.get(verb, 0)


def read_sender(argument: bytes, *, lenient: bool = False) -> tuple[Address, MailParameters]:
    """Read what follows ``MAIL`` (RFC 5321 section 4.1.1.2). ``lenient``: also without brackets.

    Raises:
        Refused: it is malformed, or asks for something that is not offered.

    """
    address, words = _read_path(argument, b"FROM:", bad=_BAD_SENDER, lenient=lenient)
    parameters = _read_mail_parameters(words)
    if not parameters.utf8 and not address.isascii():
        raise Refused(_NEEDS_UTF8)
    return address, parameters


def read_recipient(
    argument: bytes, *, utf8: bool, lenient: bool = False
) -> tuple[Address, RecipientRequest]:
    """Read what follows ``RCPT`` (RFC 5321 section 4.1.1.3). ``utf8``: MAIL said SMTPUTF8.

    ``lenient``: also without brackets.

    Raises:
        Refused: it is malformed, or asks for something that is not offered.

    """
    address, words = _read_path(argument, b"TO:", bad=_BAD_RECIPIENT, lenient=lenient)
    if address == NULL_SENDER:
        raise Refused(_BAD_RECIPIENT)
    request = _read_recipient_parameters(words)
    if not utf8 and not address.isascii():
        raise Refused(_NEEDS_UTF8)
    return address, request


def read_chunk(argument: bytes) -> ReceiveChunk | None:
    """Read what follows ``BDAT`` (RFC 3030 section 2); None: it does not say how many octets."""
    match = _CHUNK.fullmatch(argument)
    return None if match is None else ReceiveChunk(int(match[1]), last=match[2] is not None)


def read_mailbox(argument: bytes) -> Address | None:
    """Read what follows ``VRFY``: a mailbox with or without brackets; None: it is neither."""
    text = argument if argument.startswith(b"<") else b"<" + argument + b">"
    try:
        address, _ = _read_path(b"TO:" + text, b"TO:", bad=_BAD_RECIPIENT)
    except Refused:
        return None
    return address or None


def is_mailbox(text: str, *, utf8: bool) -> bool:
    """Return whether a text can stand between the brackets of RCPT. ``utf8``: with SMTPUTF8."""
    match = _PATH.fullmatch(f"<{text}>")
    if match is None or match["address"] != text or not text or _CONTROL.search(text):
        return False
    return (utf8 or text.isascii()) and _is_plausible(match["local"], match["domain"])


def _read_path(
    argument: bytes, keyword: bytes, *, bad: Reply, lenient: bool = False
) -> tuple[Address, list[str]]:
    """Return the address verbatim and the words behind the bracket."""
    if argument[: len(keyword)].upper() != keyword:
        raise Refused(Reply(501, f"5.5.4 syntax: {keyword.decode()}<address>"))
    try:
        text = argument[len(keyword) :].decode()
    except UnicodeDecodeError:
        raise Refused(_NOT_UTF8) from None
    text = text.strip(" \t")
    if lenient and text and not text.startswith("<"):
        text = _WORD.sub(r"<\g<0>>", text, count=1)
    match = _PATH.fullmatch(text)
    if match is None or _CONTROL.search(text) or not _is_plausible(match["local"], match["domain"]):
        raise Refused(bad)
    return Address(match["address"]), (match["rest"] or "").split()


def _is_plausible(local: str, domain: str | None) -> bool:
    # An address must never look like an option to a program that gets it as an argument.
    if local.startswith("-") or len(local.encode()) > _LONGEST_LOCAL_PART:
        return False
    # "<>" and unqualified names such as <postmaster>; the next server judges the latter.
    return domain is None or (bool(local) and len(domain.encode()) <= _LONGEST_DOMAIN)


def _read_mail_parameters(words: list[str]) -> MailParameters:
    if not words:
        return NO_PARAMETERS
    size, body, utf8 = None, Body.UNKNOWN, False
    auth, give_back, envelope_id = "", None, ""
    for word, value in _read_parameters(words).items():
        match word:
            case "SIZE":
                if value is None or not _SIZE.fullmatch(value):
                    raise Refused(Reply(501, "5.5.4 SIZE needs a number"))
                size = int(value)
            case "BODY":
                body = _read_body(value)
            case "SMTPUTF8":
                if value is not None:
                    raise Refused(Reply(501, "5.5.4 SMTPUTF8 takes no value"))
                utf8 = True
            case "AUTH":
                auth = _read_xtext(word, value, 500) if value != "<>" else "<>"
            case "RET":
                give_back = _read_return(value)
            case "ENVID":
                envelope_id = _read_xtext(word, value, 100)
            case _:
                raise Refused(_UNKNOWN_PARAMETER)
    return MailParameters(
        size=size,
        body=body,
        utf8=utf8,
        auth=auth,
        give_back=give_back,
        envelope_id=envelope_id,
    )


def _read_recipient_parameters(words: list[str]) -> RecipientRequest:
    if not words:
        return NO_WISHES
    notify, original = tuple[Notify, ...](), ""
    for word, value in _read_parameters(words).items():
        match word:
            case "NOTIFY":
                notify = _read_notify(value)
            case "ORCPT":
                original = _read_original(value)
            case _:
                raise Refused(_UNKNOWN_PARAMETER)
    return RecipientRequest(notify=notify, original=original)


def _read_notify(value: str | None) -> tuple[Notify, ...]:
    words = (value or "").upper().split(",")
    if len(set(words)) != len(words) or not set(words) <= set(Notify):
        raise Refused(_BAD_NOTIFY)
    if Notify.NEVER in words and len(words) > 1:
        raise Refused(_BAD_NOTIFY)
    return tuple(Notify(word) for word in words)


def _read_original(value: str | None) -> str:
    kind, semicolon, address = (value or "").partition(";")
    # RFC 6533 section 3 allows more in an address of the type utf-8 than xtext does.
    if not semicolon or not _ATOMS.fullmatch(kind) or not address or len(value or "") > 500:
        raise Refused(_BAD_ORIGINAL)
    if kind.lower() != "utf-8" and not is_xtext(address):
        raise Refused(_BAD_ORIGINAL)
    return value or ""


def _read_return(value: str | None) -> Return:
    try:
        return Return((value or "").upper())
    except ValueError:
        raise Refused(Reply(501, "5.5.4 RET is FULL or HDRS")) from None


def _read_xtext(word: str, value: str | None, longest: int) -> str:
    if not value or len(value) > longest or not is_xtext(value):
        raise Refused(Reply(501, f"5.5.4 {word} needs a value in xtext"))
    return value


def _read_parameters(words: list[str]) -> dict[str, str | None]:
    parameters: dict[str, str | None] = {}
    for text in words:
        match = _PARAMETER.fullmatch(text)
        if match is None or match["word"].upper() in parameters:
            raise Refused(Reply(501, "5.5.4 malformed parameter"))
        parameters[match["word"].upper()] = match["value"]
    return parameters


def _read_body(value: str | None) -> Body:
    match (value or "").upper():
        case "7BIT":
            return Body.SEVEN_BIT
        case "8BITMIME":
            return Body.EIGHT_BIT
        case _:
            raise Refused(Reply(501, "5.5.4 BODY is 7BIT or 8BITMIME"))


_BAD_SENDER = Reply(501, "5.1.7 bad sender address syntax")
_BAD_RECIPIENT = Reply(501, "5.1.3 bad recipient address syntax")
_NEEDS_UTF8 = Reply(553, "5.6.7 an address beyond ASCII needs SMTPUTF8")
_NOT_UTF8 = Reply(553, "5.6.7 the address is not UTF-8")
_BAD_NOTIFY = Reply(501, "5.5.4 NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY")
_BAD_ORIGINAL = Reply(501, "5.5.4 ORCPT is a type, a semicolon and an address in xtext")
_UNKNOWN_PARAMETER = Reply(555, "5.5.4 unknown parameter")
