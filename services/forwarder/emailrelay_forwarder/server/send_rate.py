"""The rate for a server that wants mail more slowly: measured, then adapted to its answers."""

from collections import deque

WINDOW = 1.0
"""Seconds over which the rate is measured at the first refusal: servers count by the second."""
MEASURED = 100
"""Accepted messages whose times are kept for that."""
CUT = 0.5
"""The factor by which a refusal cuts the rate."""
RAISE = 0.05
"""Messages per second that each accepted message adds: a twentieth of the rate in each second."""
SLOWEST = 1 / 60
"""The lowest rate, in messages per second, even after further refusals."""
FORGIVEN = 600.0
"""Seconds without a refusal after which the limit ends."""
REST, LONGEST_REST = 900.0, 3600.0
"""Seconds without mail after the quota of a day or an hour is used up: first and longest."""
CONVINCING = 2
"""Recipients refused because of a quota, after which it is that of all mail."""
AFTER_REST = 1.0
"""Messages per second after such a rest; each accepted message adds one more."""


class SendRate:
    """The rate for one server (additive increase, multiplicative decrease). Times in seconds.

    Without a refusal there is no limit. The first refusal halves the measured rate. From then on
    messages take turns; a refused message gets a turn like all others.
    """

    __slots__ = (
        "_changed",
        "_forgiven",
        "_knee",
        "_later",
        "_named",
        "_next",
        "_rests",
        "_seen",
        "_taken",
        "rate",
    )

    def __init__(self) -> None:
        self.rate: float | None = None
        """Messages per second; None: no limit."""
        self._taken: deque[float] = deque(maxlen=MEASURED)
        self._knee = 0.0
        """The rate up to which it grows quickly."""
        self._changed = 0.0
        """Time of the last cut: refusals of earlier messages say nothing about the new rate."""
        self._forgiven = 0.0
        """The time at which the limit ends if no refusal comes before."""
        self._next = 0.0
        """The time at which the next message may begin."""
        self._later = 0.0
        """The last turn given to a deferred message."""
        self._rests = 0
        self._named = set[str]()
        """Recipients refused because of a quota since the last accepted message."""
        self._seen = 0.0
        """The time of the last request for a turn."""

    def turn(self, now: float, *, patience: float) -> float | None:
        """Take a turn; return the seconds until it, or None if they exceed ``patience``."""
        self._follow(now)
        if self.rate is None:
            return 0.0
        if now > self._forgiven:
            self.rate = None
            return 0.0
        start = max(self._next, now)
        if start - now > patience:
            return None
        self._next = start + 1 / self.rate
        return start - now

    def later(self, now: float) -> float:
        """Return the time for a deferred message.

        Each gets its own, so that they do not come at once.
        """
        if self.rate is None:
            return now
        self._later = max(self._later + 1 / self.rate, self._next, now)
        return self._later

    def accepted(self, now: float) -> None:
        """Note that a message was accepted."""
        self._taken.append(now)
        self._rests = 0
        self._named.clear()
        if self.rate is not None:
            self.rate += min(1.0, self._knee - self.rate) if self.rate < self._knee else RAISE

    def refused(self, now: float, *, began: float) -> bool:
        """Note that a message was refused because it came too fast; return whether that counted.

        The refusals of several messages that began before the last cut count as one.
        """
        if self.rate is not None and began <= self._changed:
            return False
        self._knee = max(SLOWEST, CUT * self._measured(now))
        self._cut(self._knee, now, pause=0.0)
        return True

    def quota_named(self, recipient: str) -> bool:
        """Note a refusal of one recipient because of a quota; return whether it concerns all mail.

        One recipient may have a quota alone. So that takes ``CONVINCING`` of them, and no message
        accepted between.
        """
        if len(self._named) < CONVINCING:
            self._named.add(recipient)
        return len(self._named) == CONVINCING

    def used_up(self, now: float, *, began: float) -> bool:
        """Note that the quota of a day or an hour is used up.

        Return whether that counted (``refused``).
        """
        if self.rate is not None and began <= self._changed:
            return False
        self._knee = max(self._knee, self._measured(now))
        self._cut(AFTER_REST, now, pause=min(LONGEST_REST, REST * 2.0 ** min(self._rests, 16)))
        self._rests += 1
        return True

    def _follow(self, now: float) -> None:
        """Move all times back with a clock that was set back: the next turn must not be late."""
        back = max(0.0, self._seen - now)
        self._seen = now
        if back:
            self._changed -= back
            self._next -= back
            self._later -= back
            self._forgiven -= back

    def _cut(self, rate: float, now: float, *, pause: float) -> None:
        self.rate = rate
        self._changed = self._seen = now
        self._next = now + max(pause, 1 / rate)
        self._later = self._next - 1 / rate
        self._forgiven = self._next + FORGIVEN

    def _measured(self, now: float) -> float:
        if self.rate is not None:
            return self.rate
        return max(1, sum(at > now - WINDOW for at in self._taken)) / WINDOW
