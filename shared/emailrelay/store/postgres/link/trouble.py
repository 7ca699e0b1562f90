"""The errors of the database, translated once: what failed, and what to do about it."""

import errno
import re
from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from emailrelay.errors import IdTaken, RelayError, StoreError, StoreForbidden, StoreUnusable

_LOST_CLASSES = ("08", "57P", "40003", "25P03", "25P04")
"""SQLSTATEs of a connection that is gone or ended by a time limit of the server, of a server that
stops or starts, of an unknown end."""
_ADVICE = {
    "42P01": "a table is missing; run: emailrelay-store init",
    "42703": "a column is missing; run: emailrelay-store migrate",
    "3F000": "the schema is missing; run: emailrelay-store init",
    "42501": "this user lacks a right; see docs/postgres.md for the grants",
}
_CHANGED_TABLES = ("42",)
"""SQLSTATEs of statements that do not fit the tables."""
_CHANGED = "a table is not as emailrelay-store made it; undo the change"
_TEMPORARY_ADVICE = {
    "53300": "the server has no connection left; raise max_connections, or use a pooler",
    "55P03": "a row stayed locked by another transaction",
    "57014": "the server stopped the statement; look at statement_timeout",
}
_ADVICE_LOST = {
    # It was the primary when the connection was made.
    "25006": "this server is a replica by now; name all hosts in the URL, or the primary",
}
_FORBIDDEN = "42501"
"""The SQLSTATE of a right that the user lacks."""
_AT_CONNECT = (
    (
        "password authentication failed",
        StoreForbidden,
        "check PGPASSFILE, the service file or password_file",
    ),
    (
        "no password supplied",
        StoreForbidden,
        "put the password into PGPASSFILE, a service file or password_file",
    ),
    (r"no pg_hba\.conf entry", StoreForbidden, "allow this host in pg_hba.conf"),
    (r'role ".*" does not exist', StoreForbidden, "create it, or correct the URL"),
    ("does not exist", StoreUnusable, "create it, or correct the URL"),
)
"""Signs in the text of an error: libpq has no SQLSTATE for a refused connection."""
_TAKEN = ("23505", "23502")
"""SQLSTATEs of a row whose id is taken: a key that is there, or a column that is null then."""
_CONFLICT = "40"
"""The class of SQLSTATEs of a transaction that conflicts with another, as in a deadlock."""
_NO_RESOURCES = "53"
"""The class of SQLSTATEs of resources that are short now."""


class Lost(StoreError):
    """The connection is gone, or there is none: nothing is known about the statement under way."""


class Busy(StoreError):
    """The database answers but cannot do it now: it has no room, or a lock or a limit stops it."""


class Conflict(Busy):
    """Another transaction was in the way: the same statements work when they are made again."""


class Final(StoreError):
    """The work cannot be done any more, however often it is tried."""


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the connection, not the statement, is the trouble."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state in _ADVICE_LOST or state.startswith(_LOST_CLASSES)


def as_relay_error(doing: str, error: psycopg.Error) -> RelayError:
    """Return our error for one of the database."""
    state, words = error.sqlstate, _words(error)
    if state is not None and (state in _ADVICE or state.startswith(_CHANGED_TABLES)):
        kind = StoreForbidden if state == _FORBIDDEN else StoreUnusable
        return kind(f"{doing}: {_ADVICE.get(state, _CHANGED)} ({words})")
    if state in _TAKEN:
        return IdTaken(doing, f"another message has its id, or had it: {words}")
    if state == "53100":
        return Busy(doing, OSError(errno.ENOSPC, f"the database has no room: {words}"))
    if is_lost(error):
        return Lost(
            doing, f"{_ADVICE_LOST.get(state or '', 'the database does not answer')}: {words}"
        )
    if state is not None and state in _TEMPORARY_ADVICE:
        return Busy(doing, f"{_TEMPORARY_ADVICE[state]} ({words})")
    if state is not None and state.startswith(_CONFLICT):
        return Conflict(doing, f"the database refused: {words}")
    if state is not None and state.startswith(_NO_RESOURCES):
        return Busy(doing, f"the database refused: {words}")
    return StoreError(doing, f"the database refused: {words}")


def not_connected(shown: str, error: psycopg.Error) -> StoreError | StoreUnusable:
    """Return our error for a connection that could not be made."""
    words = _words(error)
    for sign, kind, advice in _AT_CONNECT:
        if re.search(sign, words):
            return kind(f"{shown}: {advice} ({words})")
    if error.sqlstate == "53300" or "too many clients" in words or "remaining connection" in words:
        return Lost(f"connect to {shown}", _TEMPORARY_ADVICE["53300"])
    return Lost(f"connect to {shown}", words)


class Unfit(Busy):
    """The database lacks something that an administrator must put right, and had it before."""


@contextmanager
def translated(doing: str) -> Generator[None]:
    """Raise the errors of the database as ours."""
    try:
        yield
    except psycopg.Error as error:
        raise as_relay_error(doing, error) from error
    except TimeoutError as error:
        raise Lost(doing, "the database did not answer in time") from error


def _words(error: psycopg.Error) -> str:
    """Return the first line of the error; the lines after it may quote values of the statement."""
    text = error.diag.message_primary or str(error)
    return next(iter(text.strip().splitlines()), type(error).__name__)
