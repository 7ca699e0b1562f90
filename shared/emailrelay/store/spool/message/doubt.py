"""The note of one claim that a final dot is on its way; see ``marks.final_dots``."""

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Fail, Settlement
from emailrelay.store.spool.message.spool import Spool


class Doubt:
    """A message's slot in ``.doubt``, while it has one."""

    def __init__(self, spool: Spool, message: QueueId) -> None:
        """Note nothing yet."""
        self._spool, self._message = spool, message
        self._slot: int | None = None

    def begin(self, peer: str) -> bool:
        """Note that a dot goes to ``peer``; False: one was noted before."""
        if self._slot is not None:
            return False
        try:
            self._slot = self._spool.final_dots.mark(self._message, peer)
        except OSError as error:  # it only names duplicates: no reason to stop mail
            self._spool.trouble("note a message in doubt", error)
        return True

    def delivered(self) -> None:
        """Note that the server has accepted the message, if a dot was noted."""
        if self._slot is not None:
            self._spool.final_dots.delivered(self._slot)

    def leave(self) -> bool:
        """Leave the note to the next opener, which finishes the removal or names the duplicate.

        False: there is none.
        """
        slot, self._slot = self._slot, None
        return slot is not None

    def end(self) -> None:
        """Clear the note, if there is one."""
        if self._slot is not None:
            slot, self._slot = self._slot, None
            self._spool.final_dots.clear(slot)


def has_delivered(settlement: Settlement) -> bool:
    """Tell if some recipient has the message: it must not be tried again without a note."""
    match settlement:
        case Done():
            return True
        case Defer(attempt) | Fail(_, attempt):
            replies = () if attempt is None else attempt.replies.values()
            return any(reply.accepted for reply in replies)
        case _:
            return False
