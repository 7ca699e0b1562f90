"""The users of the console, from a secrets file; the fifth word of a line is the role."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from emailrelay.errors import ConfigError, RelayError
from emailrelay.secrets import SecretsFile

_AT_ONCE = 2
"""Passwords checked at a time: each takes half a second of a processor, and 16 MiB or more."""
_API = "api-"
_UNUSABLE = (
    "Nobody can sign in now: the file with the users of the console (console_auth) was changed, and"
    " cannot be used. The log of the console says why; mend the file, and repeat."
)


class UsersUnusable(RelayError):
    """The file of the users was changed, and is unusable: it may have lost a user on purpose."""


class ConsoleRole(StrEnum):
    """The rights of a user; a viewer changes nothing."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class ConsoleUser:
    """A user, or a program with a token for the API."""

    name: str
    role: ConsoleRole

    @property
    def operates(self) -> bool:
        """True if the user can change something."""
        return self.role is ConsoleRole.OPERATOR


class Users:
    """The users in a file. ``Users(path)`` reads it or raises ``ConfigError`` with all problems."""

    def __init__(self, path: Path) -> None:
        self._file = SecretsFile(path)
        self._checking = asyncio.Semaphore(_AT_ONCE)
        self.generation = 0
        """Grows with each change of the file: a session of an earlier one is over."""
        self._usable = True

    def refresh(self) -> None:
        """Read the file again after a change, which ends all sessions.

        Raises:
            ConfigError: see ``SecretsFile.refresh``. No user can sign in until the file changes
                again.

        """
        try:
            if self._file.refresh():
                self.generation += 1
                self._usable = True
        except ConfigError:
            self.generation += 1
            self._usable = False
            raise

    def problems(self) -> Iterator[str]:
        """Yield the problems that the form of the file does not show."""
        known = {f"{api}{role}" for role in ConsoleRole for api in ("", _API)}
        for name, word in self._file.roles.items():
            if word not in known:
                roles = ", ".join(sorted(known))
                yield f"{self._file.path}: {name} has the role {word}, which is none of {roles}"
        if not set(self._file.roles.values()) & set(ConsoleRole):
            yield (
                f"{self._file.path}: no user has a role; add a line of"
                " emailrelay-passwd --role operator NAME"
            )

    def person(self, name: str) -> ConsoleUser | None:
        """Return the user of this name who can sign in; None: there is none.

        Raises:
            UsersUnusable: nobody can sign in now.

        """
        self._refuse_if_unusable()
        return self._with_role(name, "")

    async def sign_in(self, name: str, password: str) -> ConsoleUser | None:
        """Return the user if the password is right. It may take half a second.

        The answer is that of the current ``generation``.

        Raises:
            UsersUnusable: nobody can sign in now.

        """
        return await self._proved(name, password, "")

    async def token_user(self, token: str) -> ConsoleUser | None:
        """Return the owner of a token for the API, ``NAME.SECRET``, if it is right.

        See ``sign_in``.
        """
        name, _, secret = token.rpartition(".")
        return await self._proved(name, secret, _API)

    async def _proved(self, name: str, secret: str, prefix: str) -> ConsoleUser | None:
        async with self._checking:
            generation, right = -1, False
            while generation != self.generation:  # the file may have changed meanwhile
                self._refuse_if_unusable()
                generation = self.generation
                # Also for a user without a role: the time reveals no names.
                right = await asyncio.to_thread(self._file.server.verify_password, name, secret)
        return self._with_role(name, prefix) if right else None

    def _refuse_if_unusable(self) -> None:
        if not self._usable:
            raise UsersUnusable(_UNUSABLE)

    def _with_role(self, name: str, prefix: str) -> ConsoleUser | None:
        word = self._file.roles.get(name, "")
        role = word.removeprefix(prefix) if word.startswith(prefix) else ""
        return ConsoleUser(name, ConsoleRole(role)) if role in set(ConsoleRole) else None
