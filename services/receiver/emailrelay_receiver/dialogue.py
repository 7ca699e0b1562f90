"""The SMTP dialogue of one session (RFC 5321 section 4.1.4): commands in, answers out, no I/O.

===========  ===========================  =============================================
state        what was said                then legal, besides HELO EHLO RSET NOOP HELP VRFY QUIT
===========  ===========================  =============================================
fresh        nothing                      -
greeted      HELO or EHLO                 MAIL
mail         MAIL                         RCPT
addressed    at least one RCPT accepted   RCPT, DATA
===========  ===========================  =============================================
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply
from emailrelay_receiver.policy import (
    MailParameters,
    Refused,
    is_http,
    longest_command,
    read_recipient,
    read_sender,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
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


@dataclass(frozen=True, slots=True)
class Lines:
    """A reply of several lines."""

    code: int
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakeContent:
    """Say 354 and read the content; then call ``Dialogue.end_of_mail``."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Say this and close the connection."""

    reply: Reply


Outcome: TypeAlias = Reply | Lines | TakeContent | Goodbye


@dataclass(slots=True)
class Dialogue:
    """What a client has said so far."""

    offer: Offer
    helo: str = ""
    """What the client calls itself."""
    extended: bool = False
    """Whether it greeted with EHLO."""
    sender: Address | None = None
    parameters: MailParameters = field(default_factory=MailParameters)
    recipients: dict[Address, None] = field(default_factory=dict[Address, None])
    """In order of arrival; one said twice counts once."""
    junk: int = 0

    def hear(self, line: bytes) -> Outcome:
        """Take a command line without its line end and say what is to be done."""
        match = _COMMAND.fullmatch(line)
        verb = match[1].upper() if match else b""
        command = self._commands.get(verb)
        if match is None or command is None:
            return self._unknown(verb)
        if len(line) + 2 > longest_command(verb):
            return TOO_LONG
        try:
            return command(self, match[2] or b"")
        except Refused as refusal:
            return refusal.reply

    def end_of_mail(self) -> None:
        """Forget the transaction: its content has been taken or refused, or a new one begins."""
        self.sender = None
        self.parameters = _NO_PARAMETERS
        self.recipients = {}

    def envelope(self, *, client: str) -> Envelope:
        """Return the envelope of the transaction."""
        return Envelope(
            sender=self.sender or Address(""),
            to_remote=tuple(self.recipients),
            body=self.parameters.body,
            client=client,
            utf8=self.parameters.utf8,
        )

    @property
    def protocol(self) -> str:
        """Name the protocol as Received: lines do (RFC 3848, RFC 6531 section 4.3)."""
        if self.parameters.utf8:
            return "UTF8SMTP"
        return "ESMTP" if self.extended else "SMTP"

    def _unknown(self, verb: bytes) -> Outcome:
        if is_http(verb):
            return Goodbye(Reply(421, "4.7.0 this is a mail server"))
        if verb == b"BDAT":
            # The octets that follow are content (RFC 3030 section 2), never commands.
            return Goodbye(_NOT_OFFERED)
        self.junk += 1
        if self.junk >= self.offer.junk:
            return Goodbye(Reply(421, "4.7.0 too many unknown commands"))
        return _NOT_OFFERED if verb in _NOT_IMPLEMENTED else _UNKNOWN

    def _helo(self, argument: bytes) -> Outcome:
        name = _name(argument)
        self.end_of_mail()
        self.helo, self.extended = name, False
        return Reply(250, self.offer.domain)

    def _ehlo(self, argument: bytes) -> Outcome:
        name = _name(argument)
        self.end_of_mail()
        self.helo, self.extended = name, True
        return Lines(
            250,
            (
                self.offer.domain,
                "PIPELINING",
                f"SIZE {self.offer.size}",
                "8BITMIME",
                "SMTPUTF8",
                "ENHANCEDSTATUSCODES",
                "HELP",
            ),
        )

    def _mail(self, argument: bytes) -> Outcome:
        if not self.helo:
            return _GREET_FIRST
        if self.sender is not None:
            return _NESTED
        sender, parameters = read_sender(argument)
        if not self.extended and parameters != _NO_PARAMETERS:
            return _NEEDS_EHLO
        if self.offer.size and (parameters.size or 0) > self.offer.size:
            return TOO_BIG
        self.sender, self.parameters = sender, parameters
        return _SENDER_OK

    def _rcpt(self, argument: bytes) -> Outcome:
        if self.sender is None:
            return _MAIL_FIRST
        recipient = read_recipient(argument, utf8=self.parameters.utf8)
        if recipient not in self.recipients and len(self.recipients) >= self.offer.recipients:
            return _TOO_MANY
        self.recipients[recipient] = None
        return _RECIPIENT_OK

    def _data(self, argument: bytes) -> Outcome:
        _no_argument(argument)
        if self.sender is None:
            return _MAIL_FIRST
        if not self.recipients:
            return _NO_RECIPIENTS
        return TakeContent()

    def _rset(self, argument: bytes) -> Outcome:
        _no_argument(argument)
        self.end_of_mail()
        return _OK

    def _noop(self, _argument: bytes) -> Outcome:
        return _OK

    def _help(self, _argument: bytes) -> Outcome:
        return Reply(214, "2.0.0 " + " ".join(sorted(verb.decode() for verb in self._commands)))

    def _vrfy(self, argument: bytes) -> Outcome:
        if not self.offer.vrfy:
            return _NOT_OFFERED
        if not argument:
            return Reply(501, "5.5.4 VRFY needs an address")
        return Reply(252, "2.1.5 cannot say, but will take mail for it and try")

    def _quit(self, argument: bytes) -> Outcome:
        _no_argument(argument)
        return Goodbye(Reply(221, "2.0.0 bye"))

    _commands: ClassVar[dict[bytes, Callable[["Dialogue", bytes], Outcome]]] = {
        b"HELO": _helo,
        b"EHLO": _ehlo,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"HELP": _help,
        b"VRFY": _vrfy,
        b"QUIT": _quit,
    }


_COMMAND = re.compile(rb"([^ \t]+)(?:[ \t]+(.*?)[ \t]*)?", re.DOTALL)
_NOT_IMPLEMENTED = frozenset({b"EXPN", b"ETRN", b"TURN", b"AUTH", b"STARTTLS"})

TOO_LONG = Reply(500, "5.5.2 command line too long")
TOO_BIG = Reply(552, "5.3.4 message too big")
_NO_PARAMETERS = MailParameters()
_OK = Reply(250, "2.0.0 Ok")
_SENDER_OK = Reply(250, "2.1.0 Ok")
_RECIPIENT_OK = Reply(250, "2.1.5 Ok")
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
