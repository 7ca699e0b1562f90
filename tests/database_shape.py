"""The tables of a new database, which a used one is given again for the next test."""

import time

import psycopg
from psycopg import sql


class Shape:
    """The tables of a new database, and the few rows in them."""

    def __init__(self, connection: "psycopg.Connection[tuple[str, ...]]") -> None:
        self._catalog = _catalog(connection)
        self._tables = _tables(connection)
        self._rows = {table: _copied(connection, table) for table in self._tables}

    def restore(self, connection: "psycopg.Connection[tuple[str, ...]]") -> bool:
        """Make a used database a new one; False: it differs, or is in use."""
        if not _alone(connection):
            return False
        for table in _tables(connection) - self._tables:
            connection.execute(sql.SQL("drop table emailrelay.{}").format(sql.Identifier(table)))
        if _catalog(connection) != self._catalog:
            return False
        with connection.transaction(), connection.cursor() as cursor:
            for table, rows in self._rows.items():
                name = sql.Identifier(table)
                cursor.execute(sql.SQL("delete from emailrelay.{}").format(name))
                if rows:
                    with cursor.copy(sql.SQL("copy emailrelay.{} from stdin").format(name)) as copy:
                        copy.write(rows)
        return True


def _alone(connection: "psycopg.Connection[tuple[str, ...]]") -> bool:
    """Wait a moment for the end of the other connections to a database."""
    for _ in range(20):
        others = connection.execute(
            "select 1 from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
        if others.fetchone() is None:
            return True
        time.sleep(0.01)
    return False


def _tables(connection: "psycopg.Connection[tuple[str, ...]]") -> set[str]:
    found = connection.execute(
        "select relname::text from pg_class"
        " where relnamespace = 'emailrelay'::regnamespace and relkind = 'r'"
    )
    return {name for (name,) in found}


def _catalog(connection: "psycopg.Connection[tuple[str, ...]]") -> set[str]:
    """Return a line for each column, right, constraint, function, trigger and setting."""
    found = connection.execute("""
        select concat_ws(' ', relname, relkind, relacl, attname, atttypid, attnotnull)
            from pg_class left join pg_attribute on attrelid = pg_class.oid and attnum > 0
            where relnamespace = 'emailrelay'::regnamespace and not relispartition
        union select conname::text from pg_constraint
            where connamespace = 'emailrelay'::regnamespace and conparentid = 0
        union select proname || prosrc from pg_proc where pronamespace = 'emailrelay'::regnamespace
        union select tgname::text from pg_trigger where not tgisinternal
        union select concat_ws(' ', nspname, nspacl) from pg_namespace
        union select array_to_string(setconfig, ' ') from pg_db_role_setting
            where setdatabase = (select oid from pg_database where datname = current_database())
    """)
    return {line for (line,) in found}


def _copied(connection: "psycopg.Connection[tuple[str, ...]]", table: str) -> bytes:
    query = sql.SQL("copy emailrelay.{} to stdout").format(sql.Identifier(table))
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        return b"".join(bytes(block) for block in copy)
