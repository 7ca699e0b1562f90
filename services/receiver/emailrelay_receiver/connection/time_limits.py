"""Time limits of a session: its silence, its whole length, and the time for one content."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from emailrelay.reply import Reply
from emailrelay_receiver.connection.phase import Phase

SILENT = Reply(421, "4.4.2 idle timeout, closing connection")
LASTED = Reply(421, "4.4.2 this took too long")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimeouts:
    """The limits in seconds."""

    idle: float
    """Silence of a client that sends mail or has logged in."""
    first_mail: float
    """Silence of any other client."""
    session: float
    """Duration of a session, and of one message's content."""


class TimeLimits:
    """The phase of one session, and the times from which its limits count, by the loop's clock."""

    __slots__ = (
        "_clock",
        "_content_began",
        "_has_sent",
        "_is_sender",
        "_since",
        "_timeouts",
        "began",
        "last_use",
        "phase",
    )

    def __init__(
        self, timeouts: SessionTimeouts, clock: Callable[[], float], is_sender: Callable[[], bool]
    ) -> None:
        """Begin the session. ``is_sender``: the client is in a transaction or has logged in."""
        self.phase = Phase.WORKING
        self.began = self.last_use = self._since = clock()
        """``last_use``: when the client connected, or sent its latest message."""
        self._content_began = 0.0
        self._has_sent = False
        self._timeouts = timeouts
        self._clock = clock
        self._is_sender = is_sender

    def progress(self) -> None:
        """Count silence from now on."""
        self._since = self._clock()

    def heard(self) -> bool:
        """Count silence from now on; return whether the session is within its time."""
        now = self._since = self._clock()
        return now <= self.began + self._timeouts.session

    def begin_content(self) -> None:
        """Count the time of a content from now on."""
        self._content_began = self.last_use = self._clock()
        self._has_sent = True

    def end_content(self) -> None:
        """Note that the client has sent its latest message now."""
        self.last_use = self._clock()

    @property
    def lasts_too_long(self) -> bool:
        """True if the session is over its time."""
        return self._clock() > self.began + self._timeouts.session

    def due(self, last_content: float) -> tuple[float, Reply]:
        """Return when the client's time is over, as of now, and the reply for that case.

        ``last_content`` is when content last arrived.
        """
        silence = self._timeouts.first_mail
        if self._has_sent or self._is_sender():
            silence = self._timeouts.idle
        silent = max(self._since, last_content) + silence
        match self.phase:
            case (
                Phase.WRITING
                | Phase.AWAITING
                | Phase.ENCRYPTING
                | Phase.PAUSING
                | Phase.ASKING
                | Phase.WORKING
            ):
                return self._clock() + self._timeouts.idle, SILENT
            case Phase.LISTENING:
                lasted = self.began + self._timeouts.session
            case Phase.RECEIVING:
                lasted = self._content_began + self._timeouts.session
            case _:
                assert_never(self.phase)
        return (lasted, LASTED) if lasted < silent else (silent, SILENT)
