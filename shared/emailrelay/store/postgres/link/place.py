"""The place of a PostgreSQL store: its URL, without any secret."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from emailrelay.errors import StoreError, StoreUnusable

_OURS = ("lease", "connections", "allow", "password_file", "notify")
_LONGEST_HOSTS = 120
_SECRETS = ("password", "sslpassword")
_LIBPQ_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "application_name": "emailrelay",
    "target_session_attrs": "read-write",  # of several servers one takes mail
}
"""A host that was cut off is noticed within seconds, not by the kernel's two hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database, and how to use it."""

    shown: str
    """Hosts and database, for messages and logs."""
    parameters: dict[str, str] = field(repr=False)
    """What libpq takes."""
    lease: float = 60.0
    """Seconds that a claim lasts without renewal."""
    connections: int = 4
    """The most connections that one process opens."""
    allow: frozenset[str] = frozenset()
    """Server settings that may be unsafe, such as ``fsync=off`` and ``synchronous_commit=off``."""
    notify: bool = False
    """Announce new mail by NOTIFY, which a pooler in transaction mode does not pass on."""
    password_file: Path | None = None

    def secret(self) -> dict[str, str]:
        """Read the password for a new connection; {}: libpq reads PGPASSFILE or a service file.

        Raises:
            StoreError: the file cannot be read.

        """
        if self.password_file is None:
            return {}
        try:
            return {"password": self.password_file.read_text().rstrip("\r\n")}
        except OSError as error:
            raise StoreError("read the database password", error) from error


def parse(url: str) -> Place:
    """Read a URL: libpq's parameters, and ours (``lease``, ``connections``, ``allow`` …).

    Raises:
        StoreUnusable: the URL is wrong, or holds a password.

    """
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True)
        theirs = urlencode([each for each in given if each[0] not in _OURS], quote_via=quote)
        # urlunsplit would drop the slashes of postgresql:///?service=NAME.
        bare = f"{url.partition('?')[0]}?{theirs}" if theirs else url.partition("?")[0]
        parameters = {name: str(value) for name, value in conninfo_to_dict(bare).items()}
    except (ValueError, psycopg.ProgrammingError):
        # The libraries' texts may quote the URL, and with it a password.
        raise StoreUnusable(
            "store: this is no PostgreSQL URL; write postgresql://USER@HOST:PORT/DATABASE"
        ) from None
    ours = {name: value for name, value in given if name in _OURS}
    if any(name in parameters for name in _SECRETS):
        raise StoreUnusable(
            "store: the URL holds a password, which every user of this host may read;"
            " put it into PGPASSFILE, a service file, or ?password_file=FILE"
        )
    shown = _shown(parameters)
    file = ours.get("password_file")
    return Place(
        shown=shown,
        parameters={**_LIBPQ_DEFAULTS, **parameters},
        lease=_number(ours, "lease", 60.0, 1.0, 3600.0),
        connections=int(_number(ours, "connections", 4, 2, 100)),
        allow=frozenset(filter(None, ours.get("allow", "").split(","))),
        notify=_yes(ours, "notify"),
        password_file=None if file is None else Path(file),
    )


def _shown(parameters: dict[str, str]) -> str:
    host = parameters.get("host") or os.environ.get("PGHOST", "localhost")
    if service := parameters.get("service"):
        return f"postgresql:///?service={service}"
    return f"postgresql://{host[:_LONGEST_HOSTS]}/{parameters.get('dbname', '')}"


def _yes(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "no")
    if value not in {"yes", "no"}:
        raise StoreUnusable(f"store: {name} is yes or no")
    return value == "yes"


def _number(given: dict[str, str], name: str, default: float, least: float, most: float) -> float:
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise StoreUnusable(f"store: {name} is a number from {least:g} to {most:g}")
    return value
