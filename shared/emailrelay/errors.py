"""The root of the product's errors, and the errors that several packages share."""

import contextlib
import errno
from collections.abc import Generator

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def reason_of(error: Exception, known: str = "") -> str:
    """Return an error's text, without the error number of a system call.

    The file's name precedes it, unless the reader also sees the text ``known``, which contains it.
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    name = None if error.filename is None else str(error.filename)
    return error.strerror if name is None or name in known else f"{name}: {error.strerror}"


class RelayError(Exception):
    """The root of all errors that this product reports: to users, in the log, or to another module.

    A few exceptions are control flow, not errors, and do not derive from it: those are private to
    their module, or are listed with a reason in ``tests/unit/test_errors.py``.
    """

    temporary: bool = True
    """True if the same call may succeed later, with the same message and configuration."""


class StoreError(RelayError):
    """An operation of the store failed: disk full, I/O error, directory gone.

    Nothing was acknowledged.
    """

    def __init__(self, doing: str, cause: OSError | str) -> None:
        """Take the operation and the reason, both for the log; peers get a general reply."""
        why = reason_of(cause, doing) if isinstance(cause, OSError) else cause
        super().__init__(f"{doing}: {why}")
        self.no_room = isinstance(cause, OSError) and cause.errno in _NO_ROOM


class IdTaken(StoreError):
    """A new message was not committed: another one has its id, or had it and has left."""


@contextlib.contextmanager
def as_store_error(doing: str) -> Generator[None]:
    """Raise a StoreError for an OSError of the block; see ``StoreError`` for ``doing``."""
    try:
        yield
    except OSError as error:
        raise StoreError(doing, error) from error


class StoreUnusable(RelayError):
    """The store cannot be used as configured; the text says what to change."""

    temporary = False


class StoreForbidden(StoreUnusable):
    """The user has no right to use the store; others may have it."""


class DamagedMessage(RelayError):
    """An entry of the store is not a message: no content, unreadable envelope, or truncated."""

    temporary = False


class AddressError(RelayError):
    """A mail address that cannot be sent in a command."""

    temporary = False


class ConfigError(RelayError):
    """Settings contradict each other or cannot be read. The error holds every problem."""

    temporary = False

    def __init__(self, problems: list[str]) -> None:
        """Take a line for each problem; each line names its place."""
        super().__init__("\n".join(problems))
        self.problems = problems

    def of_setting(self, name: str) -> list[str]:
        """Return the problems with the name of the setting that leads to them."""
        return [f"{name}: {problem}" for problem in self.problems]


class SignInError(RelayError):
    """There is no token for an account now: its mail waits until the sign-in works again."""

    def __init__(self, account: str, reason: str, advice: str) -> None:
        """Take the account, the reason, and what to do about it. None of them contains a secret."""
        super().__init__(f"account {account}: {reason} ({advice})")
        self.account = account
        self.reason = reason
        self.advice = advice
