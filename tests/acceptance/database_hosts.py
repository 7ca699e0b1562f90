"""Processes that share nothing but a database."""

import json
import os
import smtplib
import subprocess
from dataclasses import dataclass

import psycopg
from tests.acceptance.relay import (
    BIN,
    HANG,
    Relay,
    Service,
    Sink,
    until,
)
from tests.database_server import DatabaseServer
from tests.service.submitting import command as submit_command


@dataclass
class Hosts:
    """Processes that share nothing but a database; each has a spool directory that is not there."""

    relay: Relay
    server: DatabaseServer
    url: str
    name: str

    def receiver(self, *arguments: str, name: str = "receiver") -> Service:
        return self.relay.receiver("--store", self.url, *arguments, name=name).start()

    def filterd(self, *arguments: str) -> Service:
        return self.relay.filterd("--store", self.url, *arguments).start()

    def forwarder(self, to: int, *arguments: str, name: str = "forwarder") -> Service:
        return self.relay.forwarder(to, "--store", self.url, *arguments, name=name)

    def sink(self, *arguments: str, port: int = 0) -> Sink:
        return self.relay.sink(*arguments, port=port).start()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "EMAILRELAY_STORE": self.url, "EMAILRELAY_DOMAIN": "here.test"}

    def run(
        self, program: str, *arguments: str, text: str = "", status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that has the store from its environment."""
        done = subprocess.run(
            [BIN / program, *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )
        assert done.returncode == status, done
        return done

    def queue(self, *arguments: str, status: int = 0) -> str:
        return self.run("emailrelay-queue", *arguments, status=status).stdout

    def submitted(self, *arguments: str, name: str = "emailrelay-submit", text: str = "") -> str:
        """Run ``emailrelay-submit`` under a name, as another program does."""
        done = subprocess.run(
            [*submit_command(name, None), *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    def states(self) -> dict[str, str]:
        """Return the state of each message, by its id."""
        rows = map(json.loads, self.queue("list", "--json", "--limit", "0").splitlines())
        return {row["id"]: row["state"] for row in rows}

    def messages(self) -> int:
        with psycopg.connect(self.server.conninfo(self.name)) as connection:
            found = connection.execute("select count(*) from emailrelay.message").fetchone()
        assert found is not None
        return int(found[0])

    def drained(self) -> None:
        until(lambda: self.messages() == 0, "the database holds no message")


def send(port: int, *recipients: str, subject: str = "hello") -> tuple[int, bytes]:
    """Send one message; return the answer to its final dot."""
    with smtplib.SMTP("127.0.0.1", port, "client.test", HANG) as client:
        client.ehlo()
        client.mail("ann@here.test")
        for recipient in recipients or ("bob@there.test",):
            client.rcpt(recipient)
        return client.data(f"Subject: {subject}\r\nX-Test-Id: {subject}\r\n\r\nhello\r\n")
