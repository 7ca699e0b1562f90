"""The SMTP dialogue of one session (RFC 5321 section 4.1.4): its state, which ``commands`` changes.

===========  ===========================  =============================================
state        commands so far              then legal, besides HELO EHLO RSET NOOP HELP VRFY QUIT
===========  ===========================  =============================================
fresh        none                         STARTTLS
greeted      HELO or EHLO                 MAIL, STARTTLS, AUTH (once)
mail         MAIL                         RCPT
addressed    at least one RCPT accepted   RCPT, DATA, BDAT
chunked      BDAT without LAST            BDAT
===========  ===========================  =============================================

The terms come first: encryption before most commands, a login before MAIL and
VRFY.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from emailrelay import envelope_format
from emailrelay.aliases import NO_ALIASES, Aliases
from emailrelay.dsn_request import RecipientRequest
from emailrelay.envelope import Address
from emailrelay.reply import Reply
from emailrelay.secrets.auth_config import Mechanism
from emailrelay_receiver.dialogue import access, replies
from emailrelay_receiver.dialogue.access import ClientStanding, ClientTerms
from emailrelay_receiver.dialogue.outcomes import Goodbye, Recipient, VerifyAddress
from emailrelay_receiver.dialogue.transaction import MailTransaction
from emailrelay_receiver.dialogue.verifier_answer import Local, Remote

_SYNTAX_ERRORS = frozenset({500, 501, 502, 504, 555})
"""Replies to a command that cannot be meant (RFC 5321 section 4.2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The offer of this server to clients, and its limits."""

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
    """Extensions that are not offered, in lower case. A client that uses one even so is served."""
    aliases: Aliases = NO_ALIASES


@dataclass(slots=True)
class SmtpDialogue:
    """The commands of one client so far."""

    offer: Capabilities
    terms: ClientTerms = field(default_factory=ClientTerms)
    standing: ClientStanding = field(default_factory=ClientStanding)
    room: Callable[[], int | None] = lambda: None
    """Returns the octets that can still be stored; None: unknown."""
    can_store: Callable[[], bool] = lambda: True
    """Returns whether the store can be used at present."""
    helo: str = ""
    """The client's own name."""
    extended: bool = False
    """It greeted with EHLO."""
    mail: MailTransaction = field(default_factory=MailTransaction)
    junk: int = 0
    errors: int = 0
    refusals: int = 0

    def verified(self, asked: VerifyAddress, found: Local | Remote) -> Reply:
        """Use the verifier's answer about an address: accept a recipient, or answer VRFY."""
        if asked.request is None:
            if isinstance(found, Remote):
                return replies.WILL_TRY
            name = f"{found.name} " if found.name else ""
            return Reply.of(250, f"2.1.5 {name}<{found.mailbox or asked.address}>")
        local = isinstance(found, Local)
        address = (found.mailbox if isinstance(found, Local) else found.address) or asked.address
        return self.accept(asked.address, Recipient(address, local, asked.request))

    def accept(self, given: Address, recipient: Recipient) -> Reply:
        """Add a recipient under the address that the client gave."""
        self.mail.recipients[given] = recipient
        return replies.RECIPIENT_OK

    def aliased(
        self, recipient: Address, request: RecipientRequest, targets: tuple[Address, ...]
    ) -> Reply:
        """Accept the addresses in place of a name of this host; notices name that one, too."""
        known = self.mail.recipients
        if len(known | dict.fromkeys(targets)) > max(self.offer.recipients, len(targets)):
            return replies.TOO_MANY
        original = request.original or f"rfc822;{envelope_format.to_xtext(recipient)}"
        for target in targets:
            known.setdefault(
                target, Recipient(target, local=False, request=request._replace(original=original))
            )
        return replies.RECIPIENT_OK

    def end_of_mail(self) -> None:
        """Forget the transaction: its content was accepted or refused, or a new one begins."""
        self.mail = MailTransaction()

    def start_anew(self) -> None:
        """Forget everything: commands in clear may be forged (RFC 3207 section 4.2)."""
        self.end_of_mail()
        self.helo, self.extended = "", False
        self.standing.user, self.standing.mechanism = "", None

    def count_junk(self, refusal: Reply) -> Reply | Goodbye:
        """Refuse a command that makes no sense; end the session after too many of them."""
        self.junk += 1
        return Goodbye(replies.TOO_MUCH_JUNK) if self.junk >= self.offer.junk else refusal

    def count_refusal(self, reply: Reply) -> Reply | Goodbye:
        """Count a refusal; end the session after too many since the last accepted message."""
        if reply.code in _SYNTAX_ERRORS:
            self.errors += 1
        elif reply.code >= 400:
            self.refusals += 1
        too_many = self.errors > self.offer.errors or self.refusals > self.offer.refusals
        return Goodbye(replies.TOO_MANY_ERRORS) if too_many else reply

    def message_accepted(self) -> None:
        """Forget earlier refusals: they do not count after an accepted message."""
        self.errors = self.refusals = 0

    @property
    def can_start_tls(self) -> bool:
        """True if STARTTLS is offered now."""
        return self.terms.starttls and not self.standing.encrypted

    def mechanisms(self) -> tuple[Mechanism, ...]:
        """Return the mechanisms of authentication that are offered now."""
        if self.standing.user or access.must_encrypt(self.terms, self.standing):
            return ()
        return access.mechanisms(self.terms, self.standing)

    @property
    def protocol(self) -> str:
        """The protocol's name for Received: lines (RFC 3848, RFC 6531 section 4.3)."""
        if not self.extended:
            return "SMTP"
        secure = "S" if self.standing.encrypted else ""
        authenticated = "A" if self.standing.user else ""
        return ("UTF8SMTP" if self.mail.parameters.utf8 else "ESMTP") + secure + authenticated
