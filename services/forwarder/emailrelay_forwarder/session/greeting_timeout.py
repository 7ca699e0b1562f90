"""The time limits for the greetings of servers."""

MOST_SERVERS = 1000
"""The most servers whose time is remembered; then the oldest is forgotten."""


class GreetingTimeout:
    """The limit for each server (seconds), by its address: short at first, longer for slow servers.

    RFC 5321 section 4.5.3.2.1 asks for five minutes. A dead server would delay mail for that time
    at every try. So each silence doubles the limit, up to ``longest``; after a greeting the next
    limit is twice the time that the greeting took.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._slow: dict[str, float] = {}

    def of(self, server: str) -> float:
        """Return the limit for the greeting of a server."""
        return self._slow.get(server, self._first)

    def silent(self, server: str) -> None:
        """Note that the server did not greet in time."""
        self._needs(server, self.of(server))

    def greeted(self, server: str, seconds: float) -> None:
        """Note the time that the greeting took."""
        self._needs(server, seconds)

    def _needs(self, server: str, seconds: float) -> None:
        self._slow.pop(server, None)
        wanted = min(2 * seconds, self._longest)
        if wanted > self._first:
            if len(self._slow) >= MOST_SERVERS:
                del self._slow[next(iter(self._slow))]
            self._slow[server] = wanted
