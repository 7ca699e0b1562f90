"""A fact about a message, which names the message in its line."""

from collections.abc import Sequence

from emailrelay.events.event import Event


class MailEvent(Event):
    """A fact about a message; ``mail_fields`` gives these fields.

    A line shows them if they are not empty. Without sender and recipients the place that reports
    the fact does not know the envelope.
    """

    sender: str = ""
    """The address, or empty for the null sender."""
    recipients: int = 0
    """The number of recipients that the fact concerns."""
    to: tuple[str, ...] = ()
    """The first of these recipients."""
    message_id: str = ""
    """The Message-ID of the header."""
    user: str = ""
    """The user as whom the client has logged in."""

    def shown(self) -> Sequence[str]:
        """See ``Event.shown``. The null sender is shown, as empty."""
        said = (
            bool(self.sender or self.recipients),
            bool(self.to),
            bool(self.message_id),
            bool(self.user),
        )
        return self._shown.get(said) or self._shown.setdefault(said, self._those(*said))

    def _those(self, mail: bool, to: bool, message_id: bool, user: bool) -> tuple[str, ...]:  # noqa: FBT001 - one for each field
        said = {"sender": mail, "recipients": mail, "to": to, "message_id": message_id}
        return tuple(name for name in self.fields if {**said, "user": user}.get(name, True))
