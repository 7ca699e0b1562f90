"""Two PostgreSQL servers, of which one takes mail and the other follows, and their fail-overs."""

import contextlib
import time
from pathlib import Path

import psycopg
from tests.database_server import DatabaseServer

_PATIENCE = 60.0
# A commit is confirmed when both servers have it.
_SETTINGS = ("synchronous_standby_names=*", "autovacuum=on", "wal_receiver_timeout=2s")


class Cluster:
    """A primary and a synchronous standby."""

    def __init__(self) -> None:
        self.primary = DatabaseServer(*_SETTINGS[1:])
        self._database = self.primary.database(Path("mail"))
        self.standby = DatabaseServer(*_SETTINGS, copy_of=self.primary)
        # Only now: what made the database had no standby to wait for.
        self.primary.stop()
        self.primary.settings += _SETTINGS
        self.primary.start()
        self.in_step()

    @property
    def url(self) -> str:
        """Return the URL that names both servers, in an order that does not change."""
        hosts = sorted((str(self.primary.directory), str(self.standby.directory)))
        return self.primary.url(self._database, host=",".join(hosts), lease="4")

    def in_step(self) -> None:
        """Wait until the standby confirms commits."""
        end = time.monotonic() + _PATIENCE
        while not self.asked("select count(*) from pg_stat_replication where sync_state = 'sync'"):
            assert time.monotonic() < end, "the standby does not follow"
            time.sleep(0.05)

    def asked(self, statement: str) -> object:
        """Return the first value that the primary answers."""
        with psycopg.connect(self.primary.conninfo(self._database), autocommit=True) as connection:
            (found,) = connection.execute(statement.encode()).fetchone() or (None,)
            return found

    def fail_over(self) -> None:
        """Kill the primary, and let the standby take its place."""
        self.primary.kill()
        if not self.standby.running:
            self.standby.start()
        self.primary, self.standby = self.standby, self.primary
        assert self.asked("select pg_promote()"), "the standby was not promoted"

    def repair(self) -> None:
        """Let the dead server follow the new primary."""
        self.standby.follow(self.primary)
        self.in_step()

    def remove(self) -> None:
        """Stop both and remove their files."""
        for server in (self.primary, self.standby):
            with contextlib.suppress(AssertionError):
                server.remove()
