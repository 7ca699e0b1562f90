"""Every command with a database as the store: real processes, a real PostgreSQL."""

import json
import os
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.command import Command
from tests.acceptance.database_hosts import Hosts, send
from tests.acceptance.relay import (
    BIN,
    HANG,
    free_port,
    until,
)
from tests.service.signing_in import Desk, running


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
            # A message that the forwarder has just then changes when it gives it back.
            until(lambda after=after: hosts.states() == {message: after}, after)  # type: ignore[misc]
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


def test_store_of_the_command_line_that_does_not_exist_is_an_error(hosts: Hosts) -> None:
    receiver = hosts.receiver()
    words = ("--store", hosts.server.url("nothing"), "--port", str(receiver.port))
    done = subprocess.run(
        [BIN / "emailrelay-submit", *words, "bob@there.test"],
        env=hosts.environment,
        input="x\n",
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 75
    assert "the message was not taken" in done.stderr
    assert hosts.messages() == 0


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
