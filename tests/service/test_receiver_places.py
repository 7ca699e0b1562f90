"""Places for clients when there are more clients than places, and clients that leave at once."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.certificates import make_certificates
from tests.service.receiver_login.users import PASSWORD, plain
from tests.service.receiving import HANG, Peer, Running, receiving
from tests.service.receiving_tls import client_context, encrypted

from emailrelay.config import ReceiverSettings
from emailrelay.events.receiving import SessionTrouble, Vanished
from emailrelay_receiver.clients.peer_address import keep_first_packets, reset_peer_address

RESET = b"\1\0\0\0\0\0\0\0"


def settings(**values: object) -> ReceiverSettings:
    return ReceiverSettings.model_validate({"domain": "relay.test", **values})


@pytest.fixture(autouse=True)
def _idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emailrelay_receiver.clients.admission._LEAST_IDLE", 0.0)


@asynccontextmanager
async def client_at(running: Running, address: str) -> AsyncGenerator[Peer]:
    """Come from another address of this machine."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", running.port, local_addr=(address, 0)
    )
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


async def test_idle_clients_of_an_address_do_not_keep_out_another_program_there() -> None:
    async with (
        receiving(settings(client_connections=3)) as running,
        running.client() as idle,
        running.client() as busy,
        running.client() as talking,
        running.client() as new,
    ):
        for peer in (idle, busy, talking):
            assert (await peer.reply()).startswith("220")
        for command in ("EHLO c", "MAIL FROM:<a@b>"):
            assert (await busy.ask(command)).startswith("250")
        assert (await idle.reply()).startswith("421 4.7.0")
        assert await idle.closed()
        assert (await new.reply()).startswith("220")
        assert (await busy.ask("RCPT TO:<a@b>")).startswith("250")
        assert isinstance(await running.until(SessionTrouble), SessionTrouble)


async def test_all_loopback_addresses_share_the_places_of_one() -> None:
    async with (
        receiving(settings(client_connections=2)) as running,
        client_at(running, "127.0.0.2") as first,
        client_at(running, "127.0.0.3") as second,
    ):
        for peer in (first, second):
            assert (await peer.reply()).startswith("220")
        async with client_at(running, "127.0.0.4") as third:
            assert (await third.reply()).startswith("220")
            assert (await first.reply()).startswith("421 4.7.0")


async def test_who_has_logged_in_or_sends_is_not_sent_away(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.touch(0o600)
    secrets.write_text("server plain alice open+20sesame\n")
    given = settings(client_connections=2, server_auth=str(secrets))
    async with (
        receiving(given) as running,
        running.client() as first,
        running.client() as second,
    ):
        for peer in (first, second):
            await peer.reply()
            await peer.ask("EHLO c")
            assert (await peer.ask("AUTH PLAIN " + plain("alice", PASSWORD))).startswith("235")
        async with running.client() as third:
            assert (await third.reply()).startswith("421 4.7.0 too many")
        assert (await first.ask("NOOP")).startswith("250")


async def test_clients_without_a_handshake_keep_out_no_other_client(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    given = settings(
        client_connections=2,
        server_tls_connection=True,
        server_tls_certificate=str(files.server),
    )
    async with (
        receiving(given) as running,
        running.client() as first,
        running.client() as second,
        encrypted(running, client_context(files), at_once=True) as third,
    ):
        assert (await third.reply()).startswith("220")
        assert await first.closed()
        second.writer.transport.abort()


def leave_open(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Be a client that has its 221, and ends neither the encryption nor the connection."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=HANG)
    assert plain.recv(200).startswith(b"220")
    plain.sendall(b"STARTTLS\r\n")
    assert plain.recv(200).startswith(b"220")
    client = context.wrap_socket(plain, server_hostname="127.0.0.1")
    client.sendall(b"EHLO c\r\nQUIT\r\n")
    replies = b""
    while b"\r\n221" not in replies:
        replies += client.recv(4096)
    return client


async def test_connections_that_clients_leave_open_behind_quit_keep_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay_receiver.clients.admission._LEAST_IDLE", 1000.0)
    monkeypatch.setattr("emailrelay_receiver.connection.handshake._FAREWELL", 1000.0)
    files = make_certificates(tmp_path)
    given = settings(
        client_connections=2, server_tls=True, server_tls_certificate=str(files.server)
    )
    async with receiving(given) as running:
        admission = running.context.admission
        open_ones = [
            await asyncio.to_thread(leave_open, running.port, client_context(files))
            for _ in range(2)
        ]
        assert admission.total == 2
        async with running.client() as third, running.client() as fourth:
            # They are served all the same: the connections that serve no client are dropped.
            assert (await third.reply()).startswith("220")
            assert (await fourth.reply()).startswith("220")
            assert admission.total == 2
        for client in open_ones:
            client.close()
        await running.empty()
        assert not [event for event in running.events if isinstance(event, SessionTrouble)]


async def test_a_client_that_comes_again_after_quit_finds_its_place_free(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    given = settings(
        client_connections=1, server_tls=True, server_tls_certificate=str(files.server)
    )

    def come_again(port: int) -> None:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=HANG) as client:
                assert client.recv(200).startswith(b"220")
                client.sendall(b"QUIT\r\n")
                assert client.recv(200).startswith(b"221")
            leave_open(port, client_context(files)).close()

    async with receiving(given) as running:
        await asyncio.to_thread(come_again, running.port)
        await running.empty()


async def test_a_client_has_less_patience_before_its_first_mail() -> None:
    given = settings(first_mail_timeout=4.0, idle_timeout=1000.0)
    async with (
        receiving(given) as running,
        running.client() as silent,
        running.client() as sender,
    ):
        await sender.reply()
        for command in ("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "BDAT 0 LAST"):
            assert (await sender.ask(command)).startswith("250")
        await silent.reply()
        assert (await silent.reply()).startswith("421 4.4.2")
        assert (await sender.ask("NOOP")).startswith("250")


@pytest.mark.parametrize("encrypts", [False, True])
async def test_a_port_check_is_no_trouble_and_its_address_is_known(
    tmp_path: Path, *, encrypts: bool
) -> None:
    files = make_certificates(tmp_path)
    given = settings(
        server_tls_connection=encrypts,
        server_tls_certificate=str(files.server) if encrypts else "",
    )
    async with receiving(given) as running:
        # Gone before the receiver has had its turn to accept it.
        with socket.create_connection(("127.0.0.1", running.port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        told = await running.until(Vanished)
        async with running.client() as peer:
            if not encrypts:
                await peer.reply()
            peer.reset()
        await running.until(Vanished, 2)
        await running.empty()
        with socket.create_connection(("127.0.0.1", running.port)):
            pass
        await running.until(Vanished, 3)
    assert told == Vanished(client="127.0.0.1")
    assert not [event for event in running.events if isinstance(event, SessionTrouble)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_connection_that_was_reset_before_it_was_accepted_still_tells_its_address(
    address: str,
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listening:
        try:
            listening.bind((address, 0))
        except OSError as error:
            pytest.skip(f"no {address} here: {error}")
        keep_first_packets(listening)
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        accepted, _ = listening.accept()
        with accepted:
            with pytest.raises(OSError, match="not connected"):
                accepted.getpeername()
            assert reset_peer_address(accepted) == address
