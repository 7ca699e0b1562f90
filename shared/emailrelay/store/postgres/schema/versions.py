"""The version of the tables: read at each opening, raised by ``emailrelay-store``."""

from collections.abc import Callable
from typing import LiteralString, NamedTuple

import psycopg

from emailrelay.errors import StoreUnusable
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.schema.migrations import LATEST, MIGRATIONS, Tuned

_SAFE = {"synchronous_commit": ("on", "remote_apply"), "fsync": ("on",)}
"""Settings of the server without which it may lose what it has confirmed."""
_VERSIONS = """
create table if not exists emailrelay.version (
    version integer primary key,
    title text not null,
    oldest integer not null,
    applied_at timestamptz not null default clock_timestamp()
)
"""
_STEP = """
insert into emailrelay.version (version, title, oldest) values (%s, %s, %s)
on conflict (version) do nothing
"""
"""Another process that makes the same step waits here until it is made."""


_NOT_KNOWN = (
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.SyntaxError,
    psycopg.errors.UndefinedTable,
)
"""The last one is for a part of a table that an earlier step has made whole."""
_LACKING = """
select c.relname from pg_class c join pg_namespace s on s.oid = c.relnamespace
where s.nspname = 'emailrelay' and c.relkind in ('r', 'p') and not exists
    (select 1 from pg_inherits i where i.inhrelid = c.oid)
and not (has_table_privilege(c.oid, 'select') and (c.relname = 'version' or
    (has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
    and has_table_privilege(c.oid, 'delete'))))
order by c.relname
"""
"""A part of a table is used through the whole."""


class Versions(NamedTuple):
    """Where the tables of a database stand."""

    version: int
    """The last step that was made; 0: there are no tables."""
    oldest: int
    """The oldest version that services must know to use them."""

    def problem(self) -> str | None:
        """Return why this program cannot use the tables, with advice. None: it can."""
        if self.version == 0:
            return "the database has no tables yet; run: emailrelay-store init"
        if self.version < LATEST:
            return (
                f"the tables have version {self.version}, and this program needs {LATEST};"
                " run: emailrelay-store migrate"
            )
        if self.oldest > LATEST:
            return (
                f"the tables have version {self.version}, which programs older than version"
                f" {self.oldest} cannot use; this one knows {LATEST}: install a newer one"
            )
        return None


async def read(connection: DatabaseConnection) -> Versions:
    """Read the version of the tables."""
    there = await connection.execute("select to_regclass('emailrelay.version') is not null")
    if await there.fetchone() != (True,):
        return Versions(0, 0)
    found = await connection.execute(
        "select coalesce(max(version), 0), coalesce(max(oldest), 0) from emailrelay.version"
    )
    version, oldest = (await found.fetchone()) or (0, 0)
    return Versions(int(str(version)), int(str(oldest)))


async def migrate(
    connection: DatabaseConnection, tell: Callable[[str], None], *, tuned: bool = True
) -> Versions:
    """Make all missing steps, each whole or not at all; two at once wait for each other.

    ``tuned``: try what only PostgreSQL knows first.
    """
    while True:
        try:
            await _make_schema(connection)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
            continue  # another process has made it in the same moment
        break
    for step in MIGRATIONS:
        async with connection.transaction():
            ours = await connection.execute(_STEP, (step.version, step.title, step.oldest))
            if ours.rowcount == 0:
                continue
            for statement in step.statements:
                await _execute(connection, statement, tuned=tuned)
        tell(f"version {step.version}: {step.title}")
    return await read(connection)


async def _make_schema(connection: DatabaseConnection) -> None:
    async with connection.transaction():
        encoding = await connection.execute(
            "select current_setting('server_encoding'), exists (select 1 from pg_namespace"
            " where nspname = 'emailrelay')"
        )
        name, there = (await encoding.fetchone()) or ("", False)
        if name != "UTF8":
            raise StoreUnusable(
                f"the database has the encoding {name}; create it with: createdb -E UTF8"
            )
        if not there:
            await connection.execute("create schema if not exists emailrelay")
        await connection.execute(_VERSIONS)


async def _execute(
    connection: DatabaseConnection, statement: LiteralString | Tuned, *, tuned: bool
) -> None:
    if not isinstance(statement, Tuned):
        await connection.execute(statement)
        return
    if tuned:
        try:
            async with connection.transaction():
                await connection.execute(statement.tuned)
        except _NOT_KNOWN:
            pass  # this database is only compatible with PostgreSQL
        else:
            return
    if statement.plain is not None:
        await connection.execute(statement.plain)


async def unsafe_settings(connection: DatabaseConnection, allowed: frozenset[str]) -> list[str]:
    """Return the settings of the server, as NAME=VALUE, with which it may lose confirmed mail.

    Those ``allowed`` by name are left out.
    """
    found: list[str] = []
    for name, safe in _SAFE.items():
        cursor = await connection.execute("select current_setting(%s, true)", (name,))
        (value,) = (await cursor.fetchone()) or (None,)
        if value is not None and value not in safe and f"{name}={value}" not in allowed:
            found.append(f"{name}={value}")
    return found


async def missing_rights(connection: DatabaseConnection) -> list[str]:
    """Return the tables that this user may not use as services do: a grant is missing."""
    cursor = await connection.execute(_LACKING)
    return [str(name) for (name,) in await cursor.fetchall()]


async def check(connection: DatabaseConnection, allowed: frozenset[str]) -> None:
    """Make sure that the tables can be used, and that the server keeps what it confirms.

    Raises:
        StoreUnusable: they cannot, or it does not.

    """
    problem = (await read(connection)).problem()
    if problem is not None:
        raise StoreUnusable(problem)
    if unsafe := await unsafe_settings(connection, allowed):
        raise StoreUnusable(
            f"the server has {' and '.join(unsafe)}, so that it may lose mail it has confirmed;"
            f" change that, or allow it by name: ?allow={','.join(unsafe)}"
        )
