"""The lengths of the pauses of a server that cannot be used."""

from dataclasses import dataclass

from emailrelay_forwarder.session.session_error import NoToken, SessionError, SessionStep

FIRST = 1.0
LONGEST = 60.0
"""The longest pause without an answer (seconds): one connection attempt a minute does no harm."""
LONGEST_REFUSED = 300.0
"""The longest pause after a 5yz to us: the server may block a client that tries too often."""
FIRST_SIGN_IN = 60.0
LONGEST_SIGN_IN = 3600.0
"""The longest pause after a refused login: some servers lock accounts after a number of tries."""
SPREAD = 0.2


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row. While ``trouble`` is set, the server gets no mail."""

    failures: int = 0
    trouble: SessionError | None = None

    def failed(self, trouble: SessionError, *, chance: float) -> float:
        """Note a failure; return the pause (seconds). ``chance`` in [0, 1) spreads the clients."""
        self.failures += 1
        self.trouble = trouble
        first, longest = _pauses(trouble)
        pause = min(longest, first * 2.0 ** min(self.failures - 1, 16))
        return pause * (1 - SPREAD * chance)

    @property
    def shortest(self) -> float:
        """The first pause after the last kind of trouble (seconds); 0: there is no trouble."""
        return 0.0 if self.trouble is None else _pauses(self.trouble)[0]

    def try_again(self) -> None:
        """Let mail through again. Only an accepted message shows that the trouble is over."""
        self.trouble = None

    def recovered(self) -> None:
        """Forget all failures: the server has accepted a message."""
        self.failures = 0
        self.trouble = None


def _pauses(trouble: SessionError) -> tuple[float, float]:
    """Return the first and the longest pause after such a failure."""
    if trouble.step is SessionStep.AUTH and not isinstance(trouble, NoToken):
        return FIRST_SIGN_IN, LONGEST_SIGN_IN
    return FIRST, LONGEST_REFUSED if trouble.reply.permanent else LONGEST
