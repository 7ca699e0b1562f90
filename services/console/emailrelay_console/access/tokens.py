"""The tokens of the API: each is checked once, as that takes half a second."""

from collections import OrderedDict
from dataclasses import dataclass, field

from emailrelay_console.access.sessions import hash_of
from emailrelay_console.access.users import ConsoleUser, Users

_MOST = 100
LONGEST = 500
"""Characters of a token."""


@dataclass(slots=True)
class Tokens:
    """The tokens that were right, by their hash, until the file of users changes."""

    users: Users
    _right: OrderedDict[bytes, ConsoleUser] = field(default_factory=OrderedDict[bytes, ConsoleUser])
    _generation: int = 0

    def known(self, token: str) -> ConsoleUser | None:
        """Return the owner of a token that was checked before; None: it must be checked."""
        if self._generation != self.users.generation:
            self._generation = self.users.generation
            self._right.clear()
        return self._right.get(hash_of(token))

    async def check(self, token: str) -> ConsoleUser | None:
        """Return the owner of a token, if it is right; see ``Users.sign_in``."""
        user = await self.users.token_user(token)
        if user is not None:
            self._right[hash_of(token)] = user
            while len(self._right) > _MOST:
                self._right.popitem(last=False)
        return user
