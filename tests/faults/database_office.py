"""Receiver, filterd and forwarder with a database behind a proxy, and a client and a sink."""

import smtplib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from tests.acceptance.relay import SAMPLE_FILTER, Relay, Service, Sink, until
from tests.acceptance.source import Mail, assert_all_arrived, repeated
from tests.database_server import DatabaseServer
from tests.faults.far_database import FarDatabase
from tests.faults.trio import edited_once

_CHAIN = ("--filter", str(SAMPLE_FILTER))
_PATIENCE = 90.0
OK = 250


@dataclass
class Office:
    """Three services, one process each."""

    relay: Relay
    server: DatabaseServer
    far: FarDatabase
    name: str
    sink: Sink
    receiver: Service
    filterd: Service
    forwarder: Service
    accepted: dict[str, Mail] = field(default_factory=dict[str, Mail])
    unanswered: set[str] = field(default_factory=set[str])
    """These may be there or not."""
    _number: int = 0

    @classmethod
    @contextmanager
    def of(
        cls, relay: Relay, server: DatabaseServer, *, lease: str = "2", pause: str = "0"
    ) -> Generator["Office"]:
        """Make all, with a new database; nothing is started but the sink."""
        name = server.database(relay.directory)
        retry = ("--retry-first", "0.2", "--retry-longest", "0.2")
        with FarDatabase(server.directory) as far:
            relay.store = server.url(name, host=str(far.directory), lease=lease)
            sink = relay.sink("--pause", pause).start()
            yield cls(
                relay=relay,
                server=server,
                far=far,
                name=name,
                sink=sink,
                receiver=relay.receiver(*_CHAIN),
                filterd=relay.filterd(*_CHAIN),
                forwarder=relay.forwarder(sink.port, *retry),
            )

    @property
    def services(self) -> tuple[Service, Service, Service]:
        return self.receiver, self.filterd, self.forwarder

    def start(self) -> None:
        for service in self.services:
            service.spawn()
        for service in self.services:
            service.hear("started", pid=service.pid)

    def send(self, size: int = 2000) -> int:
        """Send a message; return the code of the answer."""
        self._number += 1
        mail = Mail(self._number, size)
        try:
            with smtplib.SMTP("127.0.0.1", self.receiver.port, "client.test", _PATIENCE) as client:
                client.sendmail("a@client.test", ["b@sink.test"], mail.content, ["BODY=8BITMIME"])
        except smtplib.SMTPResponseException as error:
            return error.smtp_code
        except (smtplib.SMTPServerDisconnected, ConnectionError):
            self.unanswered.add(mail.id)
            return 0
        self.accepted[mail.id] = mail
        return OK

    def refused(self) -> int:
        """Try MAIL until it is refused; return the code."""
        return until(lambda: code if (code := self._mail()) != OK else 0, "mail is refused")

    def _mail(self) -> int:
        with smtplib.SMTP("127.0.0.1", self.receiver.port, "client.test", _PATIENCE) as client:
            client.ehlo()
            return client.mail("a@client.test")[0]

    def taken_again(self) -> None:
        """Send until mail is taken."""
        until(lambda: self.send() == OK, "mail is taken again")

    def arrived(self, twice: int = 0) -> None:
        """Wait until all accepted mail has left, and check it."""
        until(lambda: self.rows("message") == 0, "the database is empty")
        arrivals = self.sink.arrivals()
        assert_all_arrived(self.accepted, arrivals, edits=edited_once)
        refused = {arrival.id for arrival in arrivals} - self.accepted.keys() - self.unanswered
        assert not refused, "refused, and sent"
        again = repeated(arrivals)
        assert {arrival.queue_id for arrival in again} <= self.relay.possible_duplicates()
        assert len(again) <= twice

    def rows(self, table: LiteralString) -> int:
        """Count the rows of a table."""
        ((found,),) = self.run(f"select count(*) from emailrelay.{table}")
        return int(str(found))

    def run(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement beside the services; return its rows."""
        with psycopg.connect(self.server.conninfo(self.name), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
