"""The SMTP commands (RFC 5321 section 4.1.1): a command line becomes an outcome, without I/O."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from emailrelay.dsn_request import NO_WISHES
from emailrelay.reply import Reply
from emailrelay.secrets.auth_config import Mechanism
from emailrelay_receiver.dialogue import access, replies
from emailrelay_receiver.dialogue.arguments import (
    LONGEST_COMMAND,
    NO_PARAMETERS,
    Refused,
    longest_command,
    read_chunk,
    read_mailbox,
    read_recipient,
    read_sender,
)
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import (
    Authenticate,
    Goodbye,
    Lines,
    Outcome,
    ReceiveChunk,
    ReceiveContent,
    Recipient,
    StartTls,
    VerifyAddress,
)
from emailrelay_receiver.dialogue.sasl import UNKNOWN_MECHANISM, decode

_COMMAND = re.compile(rb"([^ \t]+)(?:[ \t]+(.*))?", re.DOTALL)
_NOT_IMPLEMENTED = frozenset({b"EXPN", b"ETRN", b"TURN"})
_HTTP = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"PATCH", b"DELETE", b"TRACE"}
)
"""The verbs of a tricked browser, whose next lines are an attack."""
_ALWAYS = frozenset({b"HELO", b"EHLO", b"STARTTLS", b"NOOP", b"RSET", b"HELP", b"QUIT"})
"""The harmless commands that are allowed before a required encryption (RFC 3207 section 4)."""


def hear(dialogue: SmtpDialogue, line: bytes) -> Outcome:
    """Take a command line without its line end and return what is to be done."""
    match = _COMMAND.fullmatch(line.rstrip(b" \t"))
    verb = match[1].upper() if match else b""
    command = _COMMANDS.get(verb)
    if match is None or command is None:
        return _unknown(dialogue, verb)
    argument = match[2] or b""
    if len(line) + 2 > LONGEST_COMMAND and len(line) + 2 > longest_command(verb):
        return _in_sync(verb, argument, replies.TOO_LONG)
    if verb not in _ALWAYS and access.must_encrypt(dialogue.terms, dialogue.standing):
        return _in_sync(verb, argument, replies.ENCRYPT_FIRST)
    try:
        return command(dialogue, argument)
    except Refused as refusal:
        return refusal.reply


def skip(dialogue: SmtpDialogue, begin: bytes) -> Reply | Goodbye:
    """Answer a command line that is too long for the buffer; ``begin`` is its beginning."""
    if begin[:4].upper() == b"BDAT":
        return Goodbye(replies.BAD_CHUNK)
    return dialogue.count_junk(replies.TOO_LONG)


def _in_sync(verb: bytes, argument: bytes, refusal: Reply) -> Outcome:
    """Refuse a command; the octets that follow a BDAT are not commands even so."""
    if verb != b"BDAT":
        return refusal
    chunk = read_chunk(argument)
    if chunk is None:
        return Goodbye(replies.BAD_CHUNK)
    return replace(chunk, refusal=refusal)


def _unknown(dialogue: SmtpDialogue, verb: bytes) -> Outcome:
    if verb in _HTTP:
        return Goodbye(Reply(421, "4.7.0 this is a mail server"))
    return dialogue.count_junk(replies.NOT_OFFERED if verb in _NOT_IMPLEMENTED else replies.UNKNOWN)


def _helo(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    _greet(dialogue, argument, extended=False)
    return Reply(250, dialogue.offer.domain)


def _ehlo(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    _greet(dialogue, argument, extended=True)
    words = [
        dialogue.offer.domain,
        "PIPELINING",
        f"SIZE {dialogue.offer.size}",
        "8BITMIME",
        "SMTPUTF8",
    ]
    words += ["ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
    if without := dialogue.offer.without:
        words = [line for line in words if line.partition(" ")[0].lower() not in without]
    if dialogue.can_start_tls:
        words.append("STARTTLS")
    if mechanisms := dialogue.mechanisms():
        words.append("AUTH " + " ".join(mechanisms))
    return Lines(250, (*words, "HELP"))


def _starttls(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    if not dialogue.terms.starttls:
        return replies.NOT_OFFERED
    _no_argument(argument)
    return replies.ENCRYPTED if dialogue.standing.encrypted else StartTls()


def _auth(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    if not dialogue.terms.possible:
        return replies.NOT_OFFERED
    if not dialogue.extended:
        return replies.GREET_FIRST
    if dialogue.standing.user:
        return replies.LOGGED_IN
    if dialogue.mail.sender is not None:
        return replies.IN_TRANSACTION
    word, _, initial = argument.partition(b" ")
    if not word:
        return Reply(501, "5.5.4 say which mechanism")
    try:
        mechanism = Mechanism(word.decode().upper())
    except ValueError:
        return UNKNOWN_MECHANISM
    if mechanism not in access.mechanisms(dialogue.terms, dialogue.standing):
        if access.would_help_to_encrypt(dialogue.terms, dialogue.standing, mechanism):
            return replies.ENCRYPT_TO_LOG_IN
        return UNKNOWN_MECHANISM
    initial = initial.strip(b" \t")
    return Authenticate(mechanism, decode(initial) if initial else None)


def _mail(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    if not dialogue.helo:
        return replies.GREET_FIRST
    if dialogue.mail.sender is not None:
        return replies.NESTED
    if access.must_log_in(dialogue.terms, dialogue.standing):
        return replies.LOG_IN_FIRST
    sender, parameters = read_sender(argument, lenient=dialogue.standing.lenient)
    if not dialogue.extended and parameters != NO_PARAMETERS:
        return replies.NEEDS_EHLO
    if parameters.auth and not dialogue.terms.possible:
        return Reply(555, "5.5.4 AUTH is not offered here")
    if dialogue.offer.size and (parameters.size or 0) > dialogue.offer.size:
        return replies.TOO_BIG
    if not access.may_send_as(dialogue.terms, dialogue.standing, sender):
        return replies.NOT_YOURS
    if not dialogue.can_store():
        return replies.NOT_NOW
    room = dialogue.room()
    if room is not None and room < max(parameters.size or 0, 1):
        return replies.NO_ROOM
    dialogue.mail.sender, dialogue.mail.parameters = sender, parameters
    return replies.SENDER_OK


def _rcpt(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    if dialogue.mail.sender is None:
        return replies.MAIL_FIRST
    if dialogue.mail.chunked:
        return replies.CHUNKS_FIRST
    recipient, request = read_recipient(
        argument, utf8=dialogue.mail.parameters.utf8, lenient=dialogue.standing.lenient
    )
    if not dialogue.extended and request != NO_WISHES:
        return replies.NEEDS_EHLO
    if (
        recipient not in dialogue.mail.recipients
        and len(dialogue.mail.recipients) >= dialogue.offer.recipients
    ):
        return replies.TOO_MANY
    targets = dialogue.offer.aliases.resolve(recipient)
    if targets != (recipient,):
        return dialogue.aliased(recipient, request, targets)
    if dialogue.terms.verifies or dialogue.terms.asks_next:
        return VerifyAddress(recipient, request)
    return dialogue.accept(recipient, Recipient(recipient, request=request))


def _data(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    _no_argument(argument)
    if dialogue.mail.sender is None:
        return replies.MAIL_FIRST
    if dialogue.mail.chunked:
        return replies.CHUNKS_FIRST
    if not dialogue.mail.recipients:
        return replies.NO_RECIPIENTS
    return ReceiveContent()


def _bdat(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    chunk = read_chunk(argument)
    if chunk is None:
        # It is unknown how many of the octets that follow are content.
        return Goodbye(replies.BAD_CHUNK)
    return replace(chunk, refusal=_against(dialogue, chunk))


def _against(dialogue: SmtpDialogue, chunk: ReceiveChunk) -> Reply | None:
    if dialogue.mail.sender is None:
        return replies.MAIL_FIRST
    if not dialogue.mail.recipients:
        return replies.NO_RECIPIENTS
    return replies.TOO_BIG if 0 < dialogue.offer.size < chunk.size else None


def _rset(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    _no_argument(argument)
    dialogue.end_of_mail()
    return replies.OK


def _noop(_dialogue: SmtpDialogue, _argument: bytes) -> Outcome:
    return replies.OK


def _help(dialogue: SmtpDialogue, _argument: bytes) -> Outcome:
    offered = {
        b"STARTTLS": dialogue.can_start_tls,
        b"AUTH": bool(dialogue.mechanisms()),
        b"VRFY": dialogue.offer.vrfy,
    }
    words = sorted(verb.decode() for verb in _COMMANDS if offered.get(verb, True))
    return Reply(214, "2.0.0 " + " ".join(words))


def _vrfy(dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    if not dialogue.offer.vrfy:
        return replies.NOT_OFFERED
    if not argument:
        return Reply(501, "5.5.4 VRFY needs an address")
    if access.must_log_in(dialogue.terms, dialogue.standing):
        return replies.LOG_IN_FIRST
    address = read_mailbox(argument)
    if not dialogue.terms.verifies or address is None:
        return replies.WILL_TRY
    return VerifyAddress(address, None)


def _quit(_dialogue: SmtpDialogue, argument: bytes) -> Outcome:
    _no_argument(argument)
    return Goodbye(Reply(221, "2.0.0 bye"))


def _greet(dialogue: SmtpDialogue, argument: bytes, *, extended: bool) -> None:
    if not argument:
        raise Refused(Reply(501, "5.5.4 domain name or address literal required"))
    dialogue.end_of_mail()
    dialogue.helo, dialogue.extended = argument.decode(errors="replace"), extended


def _no_argument(argument: bytes) -> None:
    if argument:
        raise Refused(Reply(501, "5.5.4 this command takes no argument"))


_COMMANDS: Mapping[bytes, Callable[[SmtpDialogue, bytes], Outcome]] = MappingProxyType(
    {
        b"HELO": _helo,
        b"EHLO": _ehlo,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"BDAT": _bdat,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"HELP": _help,
        b"VRFY": _vrfy,
        b"QUIT": _quit,
    }
)
