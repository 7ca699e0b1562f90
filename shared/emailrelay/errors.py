"""What can go wrong, each saying whether trying again later may help."""

import errno
from typing import ClassVar

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def reason_of(error: Exception, known: str = "") -> str:
    """Give an error's words. A system call's error number is left out.

    The file's name is in front, unless the text ``known``, which the reader sees as well, holds it.
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    name = None if error.filename is None else str(error.filename)
    return error.strerror if name is None or name in known else f"{name}: {error.strerror}"


class RelayError(Exception):
    """The one root: anything this product raises on purpose.

    ``temporary`` is the whole retry policy of an error: True means that the same call may succeed
    later without anybody changing the message or the configuration.
    """

    temporary: ClassVar[bool] = True


class StoreError(RelayError):
    """The store could not do it now: disk full, I/O error, directory gone. Nothing was acknowledged."""

    def __init__(self, doing: str, cause: OSError | str) -> None:
        """Name what was being done and why it failed, for the log; peers get a general truth."""
        why = reason_of(cause, doing) if isinstance(cause, OSError) else cause
        super().__init__(f"{doing}: {why}")
        self.no_room = isinstance(cause, OSError) and cause.errno in _NO_ROOM


class StoreUnusable(RelayError):
    """The store cannot be used as configured; the text says what to change."""

    temporary = False


class DamagedMessage(RelayError):
    """An entry of the store that is no message: no content, unreadable envelope, or cut short."""

    temporary = False


class AddressError(RelayError):
    """A mail address that cannot be put on the wire."""

    temporary = False


class ConfigError(RelayError):
    """Settings that contradict each other or cannot be read; holds every problem, not the first."""

    temporary = False

    def __init__(self, problems: list[str]) -> None:
        """Take one line for each problem, each naming its place."""
        super().__init__("\n".join(problems))
        self.problems = problems


class SignInError(RelayError):
    """No token for an account now: its mail waits until the sign-in works again."""

    def __init__(self, account: str, reason: str, advice: str) -> None:
        """Name the account, why there is no token, and what to do about it; no secret is in it."""
        super().__init__(f"account {account}: {reason} ({advice})")
        self.account = account
        self.reason = reason
        self.advice = advice
