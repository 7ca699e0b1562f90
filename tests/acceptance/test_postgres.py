"""The services with a database as the store: real processes, a real PostgreSQL."""

import os
import signal
from pathlib import Path

import psycopg
from tests.acceptance.database_hosts import Hosts, send
from tests.acceptance.relay import (
    ROOT,
    SAMPLE_FILTER,
    free_port,
    until,
)
from tests.acceptance.source import Load, assert_each_arrived_once


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
