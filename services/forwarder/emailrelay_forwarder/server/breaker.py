"""How long a server that cannot be used is left alone."""

from dataclasses import dataclass

from emailrelay_forwarder.session.session_error import NoToken, SessionError, SessionStep

FIRST = 1.0
LONGEST = 60.0
"""Of the pauses while nobody answers (seconds): one connection attempt a minute disturbs nobody."""
LONGEST_REFUSED = 300.0
"""Of the pauses while the server says 5yz to us: it may lock out whoever keeps asking."""
FIRST_SIGN_IN = 60.0
LONGEST_SIGN_IN = 3600.0
"""Of the pauses while our account is refused: each try counts where servers lock accounts."""
SPREAD = 0.2


@dataclass(slots=True)
class Breaker:
    """Counts the troubles in a row. While ``trouble`` is set, the server is left alone."""

    failures: int = 0
    trouble: SessionError | None = None

    def failed(self, trouble: SessionError, *, chance: float) -> float:
        """Note a trouble; return the seconds to wait. ``chance`` in [0, 1) spreads several waiters."""
        self.failures += 1
        self.trouble = trouble
        first, longest = _pauses(trouble)
        pause = min(longest, first * 2.0 ** min(self.failures - 1, 16))
        return pause * (1 - SPREAD * chance)

    def try_again(self) -> None:
        """Let mail through again; only a message answered for shows that the trouble is over."""
        self.trouble = None

    def recovered(self) -> None:
        """Forget all troubles: the server has answered for a message."""
        self.failures = 0
        self.trouble = None


def _pauses(trouble: SessionError) -> tuple[float, float]:
    """Give the first and the longest pause after such a trouble."""
    if trouble.step is SessionStep.AUTH and not isinstance(trouble, NoToken):
        return FIRST_SIGN_IN, LONGEST_SIGN_IN
    return FIRST, LONGEST_REFUSED if trouble.reply.permanent else LONGEST
