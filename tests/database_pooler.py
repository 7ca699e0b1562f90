"""PgBouncer before the PostgreSQL server of the tests."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.database_server import DatabaseServer, server_user, the_server

POOLER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""PgBouncer's program, if it is on this machine."""
_START = 30.0
"""Seconds for a start that takes one."""


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
