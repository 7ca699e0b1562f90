"""The legacy command's ways to forward: proxies, client filters, refusals that are final."""

import asyncio
import smtplib
import socket

import pytest
from tests.acceptance.command import Command, Daemon
from tests.acceptance.relay import HANG, Sink, until
from tests.fakes.smtp_peer import SmtpPeer

TEXT = b"Subject: test\r\nX-Test-Id: 1\r\n\r\nhello\r\n"


def client(daemon: Daemon) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", daemon.port, "client.test", HANG)


def failed(command: Command) -> bool:
    """Tell whether there is one message, a failed one."""
    return [name.partition(".envelope")[2] for name in command.waiting()] == ["", ".bad"]


def send(daemon: Daemon, *recipients: str) -> None:
    with client(daemon) as session:
        session.sendmail("a@x.net", recipients, TEXT)


def test_a_proxy_connects_once_for_each_client_session(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-proxy", sink.address)
    with client(daemon) as one, client(daemon) as other:
        for session in (one, one, other, one, other):
            session.sendmail("a@x.net", ["b@y.net"], TEXT)
    first, second, third, fourth, fifth = (arrival.connection for arrival in sink.arrivals())
    assert first == second == fourth
    assert third == fifth != first


def test_a_proxys_client_hears_the_next_server_at_rcpt(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-proxy", sink.address, "--verify-recipients")
    with client(daemon) as session:
        refused = session.sendmail("a@x.net", ["refused@y.net", "b@y.net"], TEXT)
    assert refused == {"refused@y.net": (550, b"5.1.1 nobody of that name")}
    assert [arrival.recipients for arrival in sink.arrivals()] == [["b@y.net"]]


async def test_a_proxy_may_pass_on_to_some_and_fail_the_others(command: Command) -> None:
    async with SmtpPeer(recipients={b"nobody@y.net": "550 5.1.1 who?"}) as peer:
        options = ("--as-proxy", peer.address, "--forward-to-some")
        daemon = await asyncio.to_thread(command.daemon, *options)
        await asyncio.to_thread(send, daemon, "b@y.net", "nobody@y.net")
        assert [message.recipients for message in peer.messages] == [[b"b@y.net"]]
    await asyncio.to_thread(until, lambda: failed(command), "the rest has failed")


async def test_a_proxy_passes_on_to_all_or_none_by_default(command: Command) -> None:
    async with SmtpPeer(recipients={b"nobody@y.net": "550 5.1.1 who?"}) as peer:
        options = ("--as-proxy", peer.address, "--forward-to-all")
        daemon = await asyncio.to_thread(command.daemon, *options)
        with pytest.raises(smtplib.SMTPDataError, match=r"5\.1\.1"):
            await asyncio.to_thread(send, daemon, "b@y.net", "nobody@y.net")
        assert peer.messages == []
    await asyncio.to_thread(until, lambda: not command.waiting(), "nothing is kept")


def test_a_client_filter_edits_what_is_sent(command: Command, sink: Sink) -> None:
    send(command.daemon("--as-server"), "b@y.net")
    editing = command.directory / "filter"
    editing.write_text('#!/bin/sh\nsed -i "s/^X-Test-Id: 1/X-Test-Id: edited/" "$1"\n')
    editing.chmod(0o755)
    assert command.run("--as-client", sink.address, "--client-filter", str(editing)).status == 0
    (arrival,) = sink.arrivals()
    assert arrival.id == "edited"
    assert command.waiting() == []


def test_a_client_filter_skips_and_ends_the_run(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server")
    send(daemon, "b@y.net")
    send(daemon, "c@y.net")
    before = command.waiting()
    assert command.run("--as-client", sink.address, "--client-filter", "exit:104").status == 1
    assert sink.arrivals() == []
    assert command.waiting() == before


async def test_a_refusal_is_final_without_retry(command: Command) -> None:
    daemon = await asyncio.to_thread(command.daemon, "--as-server")
    await asyncio.to_thread(send, daemon, "b@y.net")
    async with SmtpPeer({"RCPT": "451 4.2.0 later"}) as peer:
        options = ("--as-client", peer.address, "--no-retry")
        assert (await asyncio.to_thread(command.run, *options)).status == 1
    _, envelope = command.waiting()
    assert envelope.endswith(".envelope.bad")


def test_verbose_shows_the_dialogue_but_not_the_message(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server")
    send(daemon, "b@y.net")
    quiet = command.run("--as-client", sink.address).lines
    assert not any("tx>>" in line for line in quiet)
    send(daemon, "b@y.net")
    lines = command.run("--as-client", sink.address, "--verbose").lines
    assert 'emailrelay: info: tx>>: "RCPT TO:<b@y.net>"' in lines
    assert 'emailrelay: info: rx<<: "354 go on"' in lines
    assert not any("hello" in line for line in lines)


@pytest.mark.parametrize(
    ("flags", "first"), [(["--client-tls=no"], b"MAIL FROM:"), ([], b"STARTTLS")]
)
async def test_client_tls_no_keeps_the_client_from_starttls(
    command: Command, flags: list[str], first: bytes
) -> None:
    daemon = await asyncio.to_thread(command.daemon, "--as-server")
    await asyncio.to_thread(send, daemon, "b@y.net")
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readline()
        writer.write(b"250-here\r\n250 STARTTLS\r\n")
        line = await reader.readline()
        if not heard.done():
            heard.set_result(line)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET) as server:
        port = server.sockets[0].getsockname()[1]
        target = f"127.0.0.1:{port}"
        ended = await asyncio.to_thread(command.run, "--as-client", target, *flags)
    assert ended.status == 1
    assert (await heard).startswith(first)
