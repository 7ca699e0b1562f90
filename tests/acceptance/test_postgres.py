"""Every command and service with a database as the store: real processes, a real PostgreSQL."""

import json
import os
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.command import Command
from tests.acceptance.relay import (
    BIN,
    HANG,
    ROOT,
    SAMPLE_FILTER,
    Relay,
    Service,
    Sink,
    free_port,
    until,
)
from tests.acceptance.source import Load, assert_each_arrived_once
from tests.database_server import DatabaseServer, drop_database, the_server
from tests.service.signing_in import Desk, running
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


@pytest.fixture
def hosts(relay: Relay, tmp_path: Path) -> Iterator[Hosts]:
    server = the_server()
    name = server.database(tmp_path)
    try:
        yield Hosts(relay, server, server.url(name, lease="4"), name)
        assert not relay.spool.exists()
    finally:
        relay.clear_away()
        drop_database(tmp_path)


def send(port: int, *recipients: str, subject: str = "hello") -> tuple[int, bytes]:
    """Send one message; return the answer to its final dot."""
    with smtplib.SMTP("127.0.0.1", port, "client.test", HANG) as client:
        client.ehlo()
        client.mail("ann@here.test")
        for recipient in recipients or ("bob@there.test",):
            client.rcpt(recipient)
        return client.data(f"Subject: {subject}\r\nX-Test-Id: {subject}\r\n\r\nhello\r\n")


def test_mail_goes_through_all_services_once(hosts: Hosts) -> None:
    chain = ("--filter", str(SAMPLE_FILTER))
    sink = hosts.sink()
    receivers = [hosts.receiver(*chain, name=f"receiver{n}") for n in (1, 2)]
    hosts.filterd(*chain)
    for n in (1, 2):
        hosts.forwarder(sink.port, "--workers", "2", name=f"forwarder{n}").start()
    loads = [
        Load(receiver.port, 50, first=n * 1000, sessions=5) for n, receiver in enumerate(receivers)
    ]
    for load in loads:
        load.start()
    for load in loads:
        load.finish()
    hosts.drained()
    acknowledged = loads[0].acknowledged | loads[1].acknowledged
    assert_each_arrived_once(
        acknowledged,
        sink.arrivals(),
        edits=lambda arrival: arrival.all("X-Relayed") == ["by E-MailRelay"],
    )
    hosts.relay.stop()


def test_client_filter_edits_what_is_sent(hosts: Hosts) -> None:
    sink, receiver = hosts.sink(), hosts.receiver()
    hosts.forwarder(sink.port, "--client-filter", str(SAMPLE_FILTER)).start()
    assert send(receiver.port)[0] == 250
    (arrival,) = sink.wait_for(1)
    assert arrival.all("X-Relayed") == ["by E-MailRelay"]


def test_ack_stored_needs_no_other_service(hosts: Hosts) -> None:
    assert send(hosts.receiver("--ack", "stored", "--filter", "exit:0").port)[0] == 250
    assert list(hosts.states().values()) == ["unfiltered"]


def test_ack_filtered_answers_with_the_verdict_of_another_host(hosts: Hosts) -> None:
    chain = ("--filter", "exit:1")
    receiver = hosts.receiver("--ack", "filtered", *chain)
    hosts.filterd(*chain)
    assert send(receiver.port) == (452, b"rejected")
    assert hosts.messages() == 0


def test_ack_delivered_answers_with_the_reply_of_the_smarthost(hosts: Hosts) -> None:
    sink = hosts.sink()
    receiver = hosts.receiver("--ack", "delivered")
    hosts.forwarder(sink.port).start()
    assert send(receiver.port) == (250, b"2.0.0 recorded")
    assert send(receiver.port, "refused@there.test")[0] == 550
    assert hosts.messages() == 0
    assert len(sink.arrivals()) == 1


def test_settings_file_names_the_store(hosts: Hosts, tmp_path: Path) -> None:
    sink = hosts.sink()
    config = tmp_path / "relay.toml"
    config.write_text(f"store = {json.dumps(hosts.url)}\n")
    receiver = hosts.relay.receiver("--config", str(config)).start()
    assert send(receiver.port)[0] == 250
    environment = {"PATH": os.environ["PATH"], "EMAILRELAY_CONFIG": str(config)}
    for program in (["emailrelay-queue", "list", "--json"], ["emailrelay-submit", "-bp"]):
        done = subprocess.run(
            [BIN / program[0], *program[1:]],
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG,
            check=True,
        )
        assert "ann@here.test" in done.stdout
    hosts.relay.forwarder(sink.port, "--config", str(config)).start()
    sink.wait_for(1)


def test_queue_commands_act_on_the_database(hosts: Hosts) -> None:
    port = free_port()
    receiver = hosts.receiver()
    slow = ("--retry-first", "100000", "--retry-longest", "100000")
    forwarder = hosts.forwarder(port, *slow).start()
    assert send(receiver.port)[0] == 250
    forwarder.hear("deferred")
    ((message, state),) = hosts.states().items()
    assert state == "deferred"
    assert "bob@there.test" in hosts.queue("show", message)
    assert json.loads(hosts.queue("stats", "--json"))
    for verb, after in (
        (["hold", message], "held"),
        (["release", message], None),
        (["fail", message], "failed"),
    ):
        until(lambda: hosts.states()[message] != "ready", "the forwarder has tried it")
        hosts.queue(*verb)
        if after is not None:
            assert hosts.states() == {message: after}
    assert "1 message" in hosts.queue("verify", "--contents")
    sink = hosts.sink(port=port)
    hosts.queue("retry", message)
    sink.wait_for(1)
    hosts.drained()
    assert send(receiver.port, "later@there.test", subject="2")[0] == 250
    until(lambda: list(hosts.states().values()) == ["deferred"], "it is deferred")
    hosts.queue("flush")
    sink.wait_for(2)
    forwarder.stop()
    assert send(receiver.port)[0] == 250
    hosts.queue("delete", "--all", "--yes")
    assert hosts.states() == {}


def test_flush_signal_makes_deferred_mail_due(hosts: Hosts) -> None:
    port = free_port()
    receiver = hosts.receiver()
    slow = ("--retry-first", "100000", "--retry-longest", "100000", "--workers", "2")
    forwarder = hosts.forwarder(port, *slow).start()
    assert send(receiver.port)[0] == 250
    forwarder.hear("deferred")
    sink = hosts.sink(port=port)
    forwarder.send(signal.SIGUSR1)
    sink.wait_for(1)


def test_programs_submit_mail_and_see_the_queue(hosts: Hosts) -> None:
    text = "To: bob@there.test\nSubject: one\nX-Test-Id: 1\n\nhello\n"
    hosts.submitted("-t", text=text)
    hosts.submitted("-i", "-f", "ann@here.test", "cat@there.test", name="sendmail", text=text)
    said = hosts.submitted(
        "-bs",
        name="sendmail",
        text="EHLO x\r\nMAIL FROM:<ann@here.test>\r\nRCPT TO:<dan@there.test>\r\nDATA\r\n"
        "Subject: three\r\nX-Test-Id: 3\r\n\r\nhello\r\n.\r\nQUIT\r\n",
    )
    assert said.splitlines()[-1].startswith("221")
    shown = hosts.submitted(name="mailq")
    for name in ("bob", "cat", "dan"):
        assert f"{name}@there.test" in shown
    sink = hosts.sink()
    hosts.forwarder(sink.port).start()
    assert sorted(a.recipients[0] for a in sink.wait_for(3)) == [
        "bob@there.test",
        "cat@there.test",
        "dan@there.test",
    ]
    hosts.drained()
    assert "empty" in hosts.submitted(name="mailq")


def test_trace_finds_submitted_mail_by_its_alias(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAILRELAY_ALIASES", "root=admin@there.test")
    hosts.submitted("root", text="Subject: x\n\nfailed\n")
    found = json.loads(hosts.queue("trace", "root@here.test", "--json"))
    assert found["to"] == ["admin@there.test"]


def test_user_without_rights_submits_through_the_receiver(hosts: Hosts) -> None:
    receiver = hosts.receiver()
    with psycopg.connect(hosts.server.conninfo(hosts.name), autocommit=True) as connection:
        connection.execute("drop role if exists stranger")
        connection.execute("create role stranger login")
    stranger = hosts.url.replace("postgres@", "stranger@")
    hosts.submitted("--store", stranger, "--port", str(receiver.port), "bob@there.test", text="x\n")
    assert hosts.messages() == 1


def test_senders_of_failed_mail_are_told_once(hosts: Hosts) -> None:
    sink, receiver = hosts.sink(), hosts.receiver()
    forwarder = hosts.forwarder(sink.port).start()
    assert send(receiver.port, "refused@there.test")[0] == 250
    forwarder.hear("failed")
    for _ in range(2):
        hosts.run("emailrelay-notify", "--relay")
    (notice,) = sink.wait_for(1)
    assert (notice.sender, notice.recipients) == ("", ["ann@here.test"])
    until(lambda: list(hosts.states().values()) == ["failed"], "only the failed message is left")


def test_notices_go_into_a_maildir(hosts: Hosts, tmp_path: Path) -> None:
    receiver = hosts.receiver()
    assert send(receiver.port)[0] == 250
    hosts.queue("fail", "--all")
    hosts.run("emailrelay-notify", "--maildir", str(tmp_path / "mail"))
    assert len(list((tmp_path / "mail" / "new").iterdir())) == 1


def test_limits_of_a_route_hold_over_hosts(hosts: Hosts, tmp_path: Path) -> None:
    sink, receiver = hosts.sink(), hosts.receiver()
    config = tmp_path / "relay.toml"
    config.write_text(
        f'forward_to = "unused:1"\n[[route]]\nname = "slow"\nrecipient = ["there.test"]\n'
        f'smarthosts = ["{sink.address}"]\nrate = "2/h"\n'
    )
    for n in range(3):
        assert send(receiver.port, subject=str(n))[0] == 250
    for n in (1, 2):
        forwarder = hosts.forwarder(1, "-c", str(config), "--once", name=f"forwarder{n}")
        forwarder.spawn()
        assert forwarder.wait() == 1
        assert forwarder.events("rate_reached")
    assert len(sink.arrivals()) == 2
    assert hosts.messages() == 1
    assert "slow" in hosts.queue("route", "-c", str(config), "ann@here.test", "bob@there.test")


async def test_tokens_of_accounts_are_in_the_database(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fakes.oauth_server import Client, OAuthServer  # noqa: PLC0415 - needs an extra
    from tests.service.signing_in import SECRET  # noqa: PLC0415

    async with OAuthServer(tmp_path, clients={"app:1": Client(secret=SECRET)}) as oauth:
        monkeypatch.setenv("SSL_CERT_FILE", str(oauth.ca))
        monkeypatch.setenv("EMAILRELAY_STORE", hosts.url)
        desk = Desk(tmp_path, oauth)
        desk.application()
        where = ("--config", str(desk.config))
        words = (sys.executable, "-m", "emailrelay.oauth")
        for verb in (("login", "office"), ("status",)):
            async with running(*words, *verb, *where) as process:
                out, err = await process.communicate()
            assert process.returncode == 0, err
            assert b"office" in out
    with psycopg.connect(hosts.server.conninfo(hosts.name)) as connection:
        assert connection.execute("select name from emailrelay.token").fetchall() == [("office",)]
    desk.spool.rmdir()


def test_doctor_examines_a_smarthost(hosts: Hosts) -> None:
    sink = hosts.sink()
    done = hosts.run("emailrelay-doctor", "--json", sink.address)
    assert json.loads(done.stdout)["ok"]


def test_store_command_examines_the_database(hosts: Hosts) -> None:
    said = hosts.run("emailrelay-store", "check").stdout
    assert "tables: version" in said
    hosts.run("emailrelay-store", "migrate")


def test_historical_command_works_on_the_database(hosts: Hosts, tmp_path: Path) -> None:
    sink = hosts.sink()
    command = Command(tmp_path, environment=hosts.environment)
    try:
        daemon = command.daemon("--as-proxy", sink.address)
        message = EmailMessage()
        message["Subject"], message["X-Test-Id"] = "old", "old"
        with smtplib.SMTP("127.0.0.1", daemon.port, "client.test", HANG) as client:
            client.send_message(message, "ann@here.test", ["bob@there.test"])
        sink.wait_for(1)
        daemon.stop()
    finally:
        command.clear_away()
    hosts.drained()


def test_services_work_with_the_grants_of_the_documentation(hosts: Hosts, tmp_path: Path) -> None:
    """Under a user that does not own the tables, named by a libpq service file."""
    with psycopg.connect(hosts.server.conninfo(hosts.name), autocommit=True) as connection:
        connection.execute("drop role if exists relay")
        connection.execute("create role relay login")
        for statement in grants():
            connection.execute(statement.encode())
    service = tmp_path / "pg_service.conf"
    service.write_text(f"[mail]\nhost={hosts.server.directory}\nuser=relay\ndbname={hosts.name}\n")
    os.environ["PGSERVICEFILE"] = str(service)
    try:
        hosts.url = "postgresql:///?service=mail&allow=fsync%3Doff"
        sink = hosts.sink()
        receiver = hosts.receiver("--filter", "exit:0")
        hosts.filterd("--filter", "exit:0")
        hosts.forwarder(sink.port).start()
        assert send(receiver.port)[0] == 250
        sink.wait_for(1)
        hosts.drained()
        hosts.relay.stop()
        for running_service in hosts.relay.services:
            assert not running_service.events("store_trouble")
        hosts.queue("list", status=0)
    finally:
        del os.environ["PGSERVICEFILE"]
        with psycopg.connect(hosts.server.conninfo(hosts.name), autocommit=True) as connection:
            connection.execute("drop owned by relay")


def grants() -> list[str]:
    """Return the statements of the documentation."""
    page = (ROOT / "docs" / "postgres.md").read_text()
    block = page.partition("## Grants")[2].partition("```sql\n")[2].partition("```")[0]
    return [statement for statement in block.split(";") if statement.strip()]
