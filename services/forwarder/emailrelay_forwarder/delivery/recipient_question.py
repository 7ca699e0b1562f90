"""A question of a receiver about a recipient, and the answer: one line each.

The lines are those of the protocol of address verifiers; see ``docs/verify-recipients.md``.
"""

from typing import NamedTuple, Self

from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply, one_line

_FIELDS = 8


class RecipientQuestion(NamedTuple):
    """A recipient that a client has named, and what is known of the message."""

    recipient: Address
    sender: Address
    user: str
    """The user as whom the client has logged in; empty: none."""
    session: str
    """The client's session; see ``Smarthost.take``."""
    utf8: bool
    """True if the client has said SMTPUTF8."""

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Read the line, without its LF.

        Raises:
            ValueError: it is not a question of a receiver of this release.

        """
        words = line.decode().split("|")
        if len(words) != _FIELDS or any(one_line(word) != word for word in words):
            raise ValueError("a question has eight fields without control characters")
        recipient, sender, _client, _domain, mechanism, user, session, utf8 = words
        return cls(
            Address(recipient),
            Address(sender),
            "" if mechanism == "none" else user,
            session,
            utf8 == "utf8",
        )

    @property
    def envelope(self) -> Envelope:
        """The envelope as far as it decides the route."""
        return Envelope(
            sender=self.sender,
            to_remote=(self.recipient,),
            authentication=self.user,
            utf8=self.utf8,
        )


class RecipientAnswer(NamedTuple):
    """The reply of the next server; None: unknown, for a reason."""

    reply: Reply | None
    why: str = ""

    def line(self) -> bytes:
        """Write the answer, with its LF."""
        if self.reply is None:
            text = f"1||{one_line(self.why)}"
        elif self.reply.accepted:
            text = "1|"
        else:
            text = f"{2 if self.reply.permanent else 3}|{str(self.reply).replace('|', '?')}|"
        return text.encode() + b"\n"
