"""The SMTP dialogue of one session (RFC 5321 section 4.1.4): commands in, answers out, no I/O.

===========  ===========================  =============================================
state        what was said                then legal, besides HELO EHLO RSET NOOP HELP VRFY QUIT
===========  ===========================  =============================================
fresh        nothing                      STARTTLS
greeted      HELO or EHLO                 MAIL, STARTTLS, AUTH (once)
mail         MAIL                         RCPT
addressed    at least one RCPT accepted   RCPT, DATA, BDAT
chunked      BDAT without LAST            BDAT
===========  ===========================  =============================================

What the terms ask for comes first: encryption before everything but EHLO and the like, a login before
MAIL and VRFY.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from emailrelay.dsn_request import NO_WISHES, DsnRequest
from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply
from emailrelay.secrets import Mechanism
from emailrelay_receiver.dialogue import access
from emailrelay_receiver.dialogue.access import ClientStanding, ClientTerms
from emailrelay_receiver.dialogue.arguments import (
    Chunk,
    MailParameters,
    Refused,
    is_http,
    longest_command,
    read_chunk,
    read_mailbox,
    read_recipient,
    read_sender,
)
from emailrelay_receiver.dialogue.outcomes import (
    AskAbout,
    Authenticate,
    Goodbye,
    Lines,
    Outcome,
    Recipient,
    StartTls,
    TakeChunk,
    TakeContent,
)
from emailrelay_receiver.dialogue.sasl import UNKNOWN_MECHANISM, decode
from emailrelay_receiver.dialogue.verifier_answer import Local, Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this server offers to a client, and within which bounds."""

    domain: str
    """Our name."""
    size: int
    """Octets of the largest message; 0 for no limit."""
    recipients: int
    """The most recipients of one message."""
    junk: int = 20
    """Unknown commands after which the session ends."""
    vrfy: bool = True
    errors: int = 100
    """Malformed commands after which the session ends."""
    refusals: int = 10_000
    """Other refusals after which the session ends: of recipients, or of commands at the wrong time.

    With pipelining many of the latter can follow from a single refusal (RFC 2920 section 3.1).
    """
    without: frozenset[str] = frozenset()
    """Extensions that are not offered, in lower case. A client who uses one even so is served."""


def _unlimited() -> int | None:
    return None


@dataclass(slots=True)
class SmtpDialogue:
    """What a client has said so far."""

    offer: Capabilities
    terms: ClientTerms = field(default_factory=ClientTerms)
    standing: ClientStanding = field(default_factory=ClientStanding)
    room: Callable[[], int | None] = _unlimited
    """Octets that may still be taken; None: there is no saying."""
    helo: str = ""
    """What the client calls itself."""
    extended: bool = False
    """Whether it greeted with EHLO."""
    sender: Address | None = None
    parameters: MailParameters = field(default_factory=MailParameters)
    recipients: dict[Address, Recipient] = field(default_factory=dict[Address, Recipient])
    """By what the client said, in order of arrival; one said twice counts once."""
    chunked: bool = False
    """A BDAT was taken, and the last is still to come."""
    junk: int = 0
    errors: int = 0
    refusals: int = 0

    def hear(self, line: bytes) -> Outcome:
        """Take a command line without its line end and say what is to be done."""
        match = _COMMAND.fullmatch(line)
        verb = match[1].upper() if match else b""
        command = self._commands.get(verb)
        if match is None or command is None:
            return self._unknown(verb)
        if len(line) + 2 > longest_command(verb):
            return self._in_sync(verb, match[2] or b"", TOO_LONG)
        if verb not in _ALWAYS and access.must_encrypt(self.terms, self.standing):
            return self._in_sync(verb, match[2] or b"", _ENCRYPT_FIRST)
        try:
            return command(self, match[2] or b"")
        except Refused as refusal:
            return refusal.reply

    def skip(self, begin: bytes) -> Reply | Goodbye:
        """Say something to a command line that was too long to be kept; ``begin`` is its beginning."""
        if begin[:4].upper() == b"BDAT":
            return Goodbye(_BAD_CHUNK)
        return self._junk(TOO_LONG)

    def weigh(self, reply: Reply) -> Reply | Goodbye:
        """Count a refusal; end the session when there were too many since the last message taken."""
        if reply.code in _ERRORS:
            self.errors += 1
        elif reply.code >= 400:
            self.refusals += 1
        too_many = self.errors > self.offer.errors or self.refusals > self.offer.refusals
        return Goodbye(_TOO_MANY_ERRORS) if too_many else reply

    def taken(self) -> None:
        """Note that a message was taken: what was refused before does not count any more."""
        self.errors = self.refusals = 0

    def end_of_mail(self) -> None:
        """Forget the transaction: its content has been taken or refused, or a new one begins."""
        self.sender = None
        self.parameters = _NO_PARAMETERS
        self.recipients = {}
        self.chunked = False

    def start_anew(self) -> None:
        """Forget everything: what was said before the encryption may be anybody's (RFC 3207 4.2)."""
        self.end_of_mail()
        self.helo, self.extended = "", False
        self.standing.user, self.standing.mechanism = "", None

    def verified(self, asked: AskAbout, found: Local | Remote) -> Reply:
        """Take what the verifier knows of an address: a recipient, or the answer to VRFY."""
        if asked.request is None:
            if isinstance(found, Remote):
                return _WILL_TRY
            name = f"{found.name} " if found.name else ""
            return Reply.of(250, f"2.1.5 {name}<{found.mailbox or asked.address}>")
        local = isinstance(found, Local)
        address = (found.mailbox if isinstance(found, Local) else found.address) or asked.address
        self.recipients[asked.address] = Recipient(address, local, asked.request)
        return _RECIPIENT_OK

    def envelope(self, *, client: str) -> Envelope:
        """Return the envelope of the transaction."""
        return Envelope(
            sender=self.sender or Address(""),
            to_local=self._addresses(local=True),
            to_remote=self._addresses(local=False),
            body=self.parameters.body,
            authentication=self.standing.user,
            client=client,
            client_certificate=self.standing.certificate,
            mail_from_auth_in=self._handed_in_by(),
            utf8=self.parameters.utf8,
        )

    def dsn(self) -> DsnRequest:
        """Return what the client wants to be told of the transaction's mail."""
        return DsnRequest(
            give_back=self.parameters.give_back,
            envelope_id=self.parameters.envelope_id,
            recipients={
                r.address: r.request for r in self.recipients.values() if r.request != NO_WISHES
            },
        )

    @property
    def protocol(self) -> str:
        """Name the protocol as Received: lines do (RFC 3848, RFC 6531 section 4.3)."""
        if not self.extended:
            return "SMTP"
        secure = "S" if self.standing.encrypted else ""
        proved = "A" if self.standing.user else ""
        return ("UTF8SMTP" if self.parameters.utf8 else "ESMTP") + secure + proved

    def _addresses(self, *, local: bool) -> tuple[Address, ...]:
        found = (r.address for r in self.recipients.values() if r.local is local)
        return tuple(dict.fromkeys(found))

    def _handed_in_by(self) -> str:
        """Believe AUTH= of those only who are known to us (RFC 4954 section 5)."""
        known = self.standing.user or self.standing.trusted is not None
        return self.parameters.auth if known or not self.parameters.auth else "<>"

    def _in_sync(self, verb: bytes, argument: bytes, refusal: Reply) -> Outcome:
        """Refuse a command; the octets that follow a BDAT are no commands even so."""
        if verb != b"BDAT":
            return refusal
        chunk = read_chunk(argument)
        if chunk is None:
            return Goodbye(_BAD_CHUNK)
        return TakeChunk(chunk.size, chunk.last, refusal)

    def _unknown(self, verb: bytes) -> Outcome:
        if is_http(verb):
            return Goodbye(Reply(421, "4.7.0 this is a mail server"))
        return self._junk(_NOT_OFFERED if verb in _NOT_IMPLEMENTED else _UNKNOWN)

    def _junk(self, refusal: Reply) -> Reply | Goodbye:
        """Refuse what makes no sense, and end the session when that has happened too often."""
        self.junk += 1
        return Goodbye(_TOO_MUCH_JUNK) if self.junk >= self.offer.junk else refusal

    def _helo(self, argument: bytes) -> Outcome:
        name = _name(argument)
        self.end_of_mail()
        self.helo, self.extended = name, False
        return Reply(250, self.offer.domain)

    def _ehlo(self, argument: bytes) -> Outcome:
        name = _name(argument)
        self.end_of_mail()
        self.helo, self.extended = name, True
        words = [self.offer.domain, "PIPELINING", f"SIZE {self.offer.size}", "8BITMIME", "SMTPUTF8"]
        words += ["ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
        words = [word for word in words if word.lower() not in self.offer.without]
        if self._may_start_tls:
            words.append("STARTTLS")
        if mechanisms := self._mechanisms():
            words.append("AUTH " + " ".join(mechanisms))
        return Lines(250, (*words, "HELP"))

    @property
    def _may_start_tls(self) -> bool:
        return self.terms.starttls and not self.standing.encrypted

    def _mechanisms(self) -> tuple[Mechanism, ...]:
        if self.standing.user or access.must_encrypt(self.terms, self.standing):
            return ()
        return access.mechanisms(self.terms, self.standing)

    def _starttls(self, argument: bytes) -> Outcome:
        if not self.terms.starttls:
            return _NOT_OFFERED
        _no_argument(argument)
        return _ENCRYPTED if self.standing.encrypted else StartTls()

    def _auth(self, argument: bytes) -> Outcome:
        if not self.terms.possible:
            return _NOT_OFFERED
        if not self.extended:
            return _GREET_FIRST
        if self.standing.user:
            return _LOGGED_IN
        if self.sender is not None:
            return _IN_TRANSACTION
        word, _, initial = argument.partition(b" ")
        if not word:
            return Reply(501, "5.5.4 say which mechanism")
        try:
            mechanism = Mechanism(word.decode().upper())
        except ValueError:
            return UNKNOWN_MECHANISM
        if mechanism not in access.mechanisms(self.terms, self.standing):
            if access.would_help_to_encrypt(self.terms, self.standing, mechanism):
                return _ENCRYPT_TO_LOG_IN
            return UNKNOWN_MECHANISM
        initial = initial.strip(b" \t")
        return Authenticate(mechanism, decode(initial) if initial else None)

    def _mail(self, argument: bytes) -> Outcome:
        if not self.helo:
            return _GREET_FIRST
        if self.sender is not None:
            return _NESTED
        if access.must_log_in(self.terms, self.standing):
            return _LOG_IN_FIRST
        sender, parameters = read_sender(argument, lenient=self.standing.lenient)
        if not self.extended and parameters != _NO_PARAMETERS:
            return _NEEDS_EHLO
        if parameters.auth and not self.terms.possible:
            return Reply(555, "5.5.4 AUTH is not offered here")
        if self.offer.size and (parameters.size or 0) > self.offer.size:
            return TOO_BIG
        if not access.may_send_as(self.terms, self.standing, sender):
            return _NOT_YOURS
        room = self.room()
        if room is not None and room < max(parameters.size or 0, 1):
            return NO_ROOM
        self.sender, self.parameters = sender, parameters
        return _SENDER_OK

    def _rcpt(self, argument: bytes) -> Outcome:
        if self.sender is None:
            return _MAIL_FIRST
        if self.chunked:
            return _CHUNKS_FIRST
        recipient, request = read_recipient(
            argument, utf8=self.parameters.utf8, lenient=self.standing.lenient
        )
        if not self.extended and request != NO_WISHES:
            return _NEEDS_EHLO
        if recipient not in self.recipients and len(self.recipients) >= self.offer.recipients:
            return _TOO_MANY
        asked = AskAbout(recipient, request)
        if self.terms.verifies:
            return asked
        return self.verified(asked, Remote())

    def _data(self, argument: bytes) -> Outcome:
        _no_argument(argument)
        if self.sender is None:
            return _MAIL_FIRST
        if self.chunked:
            return _CHUNKS_FIRST
        if not self.recipients:
            return _NO_RECIPIENTS
        return TakeContent()

    def _bdat(self, argument: bytes) -> Outcome:
        chunk = read_chunk(argument)
        if chunk is None:
            # Nobody knows how many of the octets that follow are content.
            return Goodbye(_BAD_CHUNK)
        return TakeChunk(chunk.size, chunk.last, self._against(chunk))

    def _against(self, chunk: Chunk) -> Reply | None:
        if self.sender is None:
            return _MAIL_FIRST
        if not self.recipients:
            return _NO_RECIPIENTS
        return TOO_BIG if 0 < self.offer.size < chunk.size else None

    def _rset(self, argument: bytes) -> Outcome:
        _no_argument(argument)
        self.end_of_mail()
        return _OK

    def _noop(self, _argument: bytes) -> Outcome:
        return _OK

    def _help(self, _argument: bytes) -> Outcome:
        offered = {
            b"STARTTLS": self._may_start_tls,
            b"AUTH": bool(self._mechanisms()),
            b"VRFY": self.offer.vrfy,
        }
        words = sorted(verb.decode() for verb in self._commands if offered.get(verb, True))
        return Reply(214, "2.0.0 " + " ".join(words))

    def _vrfy(self, argument: bytes) -> Outcome:
        if not self.offer.vrfy:
            return _NOT_OFFERED
        if not argument:
            return Reply(501, "5.5.4 VRFY needs an address")
        if access.must_log_in(self.terms, self.standing):
            return _LOG_IN_FIRST
        address = read_mailbox(argument)
        if not self.terms.verifies or address is None:
            return _WILL_TRY
        return AskAbout(address, None)

    def _quit(self, argument: bytes) -> Outcome:
        _no_argument(argument)
        return Goodbye(Reply(221, "2.0.0 bye"))

    _commands: ClassVar[dict[bytes, Callable[["SmtpDialogue", bytes], Outcome]]] = {
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


_COMMAND = re.compile(rb"([^ \t]+)(?:[ \t]+(.*?)[ \t]*)?", re.DOTALL)
_NOT_IMPLEMENTED = frozenset({b"EXPN", b"ETRN", b"TURN"})
_ALWAYS = frozenset({b"HELO", b"EHLO", b"STARTTLS", b"NOOP", b"RSET", b"HELP", b"QUIT"})
"""What may be said before an encryption that is required (RFC 3207 section 4), and is harmless."""

TOO_LONG = Reply(500, "5.5.2 command line too long")
TOO_BIG = Reply(552, "5.3.4 message too big")
NO_ROOM = Reply(452, "4.3.1 no room for mail right now, try again later")
_NO_PARAMETERS = MailParameters()
_ENCRYPT_FIRST = Reply(530, "5.7.0 say STARTTLS first")
_ENCRYPT_TO_LOG_IN = Reply(538, "5.7.11 say STARTTLS before this")
_ENCRYPTED = Reply(503, "5.5.1 encrypted already")
_LOG_IN_FIRST = Reply(530, "5.7.0 say AUTH first")
_LOGGED_IN = Reply(503, "5.5.1 logged in already")
_IN_TRANSACTION = Reply(503, "5.5.1 not between MAIL and the end of its content")
_NOT_YOURS = Reply(553, "5.7.1 this sender is not yours to use")
_CHUNKS_FIRST = Reply(503, "5.5.1 finish with BDAT ... LAST")
_BAD_CHUNK = Reply(501, "5.5.4 BDAT needs a number of octets, and perhaps LAST")
_WILL_TRY = Reply(252, "2.1.5 cannot say, but will take mail for it and try")
_OK = Reply(250, "2.0.0 Ok")
_SENDER_OK = Reply(250, "2.1.0 Ok")
_RECIPIENT_OK = Reply(250, "2.1.5 Ok")
_ERRORS = frozenset({500, 501, 502, 504, 555})
"""Replies to a command that could not have been meant (RFC 5321 section 4.2.2)."""
_TOO_MANY_ERRORS = Reply(421, "4.7.0 too many errors")
_TOO_MUCH_JUNK = Reply(421, "4.7.0 too many unknown commands")
_UNKNOWN = Reply(500, "5.5.2 unknown command")
_NOT_OFFERED = Reply(502, "5.5.1 not offered here")
_GREET_FIRST = Reply(503, "5.5.1 say EHLO first")
_NEEDS_EHLO = Reply(555, "5.5.4 parameters need EHLO")
_NESTED = Reply(503, "5.5.1 a sender was given already")
_MAIL_FIRST = Reply(503, "5.5.1 say MAIL first")
_NO_RECIPIENTS = Reply(554, "5.5.1 no valid recipients")
_TOO_MANY = Reply(452, "4.5.3 too many recipients")


def _name(argument: bytes) -> str:
    if not argument:
        raise Refused(Reply(501, "5.5.4 say your name"))
    return argument.decode(errors="replace")


def _no_argument(argument: bytes) -> None:
    if argument:
        raise Refused(Reply(501, "5.5.4 this command takes no argument"))
