"""The sessions of browsers, in memory: a restart ends them all.

The cookie holds a random token, and the memory only its hash.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from emailrelay_console.access.users import ConsoleUser

MOST = 500
"""Sessions at a time; a further one ends the one that was not used for the longest time."""
_MOST_OF_USER = 20
IDLE = 3600.0
"""Seconds without a request after which a session is over."""
LONGEST = 12 * 3600.0
"""Seconds after which a session is over in any case."""


@dataclass(slots=True)
class BrowserSession:
    """A browser in which a user has signed in."""

    user: ConsoleUser
    generation: int
    """That of the users' file at the sign-in."""
    began: float
    used: float
    notice: str = ""
    """Words about the latest action, which the next page shows."""
    form_token: str = field(default_factory=secrets.token_urlsafe)
    """A form must send it back: other sites do not know it (CSRF)."""


@dataclass(slots=True)
class Sessions:
    """All sessions."""

    clock: Callable[[], float]
    """Seconds that only grow."""
    _open: OrderedDict[bytes, BrowserSession] = field(
        default_factory=OrderedDict[bytes, BrowserSession]
    )

    def begin(self, user: ConsoleUser, generation: int) -> str:
        """Begin a session; return its token for the cookie."""
        token, now = secrets.token_urlsafe(32), self.clock()
        own = [key for key, each in self._open.items() if each.user.name == user.name]
        for key in own[: max(0, len(own) - _MOST_OF_USER + 1)]:
            del self._open[key]
        while len(self._open) >= MOST:
            self._open.popitem(last=False)
        self._open[hash_of(token)] = BrowserSession(user, generation, now, now)
        return token

    def find(self, token: str, generation: int) -> BrowserSession | None:
        """Return the session of a token, and count it as used; None if it is missing or over."""
        key = hash_of(token)
        found = self._open.get(key)
        if found is None:
            return None
        if self._is_over(found, generation):
            del self._open[key]
            return None
        found.used = self.clock()
        self._open.move_to_end(key)
        return found

    def of_named(self, user: ConsoleUser, generation: int) -> BrowserSession:
        """Return the session of a user whom a proxy names with each request."""
        key, now = hash_of(f"named {user.name}"), self.clock()
        found = self._open.get(key)
        if found is None or found.generation != generation:
            found = self._open[key] = BrowserSession(user, generation, now, now)
        found.used = found.began = now
        self._open.move_to_end(key)
        while len(self._open) > MOST:
            self._open.popitem(last=False)
        return found

    def is_open(self, token: str, generation: int) -> bool:
        """Tell if there is such a session, and do not count it as used."""
        found = self._open.get(hash_of(token))
        return found is not None and not self._is_over(found, generation)

    def _is_over(self, session: BrowserSession, generation: int) -> bool:
        now = self.clock()
        return (
            session.generation != generation
            or now - session.used > IDLE
            or now - session.began > LONGEST
        )

    def end(self, token: str) -> None:
        """End the session of a token, if there is one."""
        self._open.pop(hash_of(token), None)

    def __len__(self) -> int:
        return len(self._open)


def hash_of(token: str) -> bytes:
    """Return what the memory holds in place of a token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
