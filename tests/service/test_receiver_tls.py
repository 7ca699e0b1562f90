"""Encryption as clients see it: STARTTLS, TLS from the first octet, and handshakes that fail."""

import asyncio
import smtplib
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.certificates import Certificates, make_certificates
from tests.service.receiving import HANG, Peer, receiving
from tests.service.receiving_tls import MAIL, client_context, encrypted, say, settings

from emailrelay.events.receiving import SessionTrouble


@pytest.fixture(name="files")
def make_files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


async def test_mail_comes_in_behind_starttls_and_the_received_line_says_so(
    files: Certificates,
) -> None:
    def talk(client: smtplib.SMTP) -> None:
        client.starttls(context=client_context(files))
        client.ehlo()
        assert not client.has_extn("starttls")
        client.sendmail("s@x.test", ["r@y.test"], MAIL)

    async with receiving(settings(files, server_tls=True)) as running:
        await say(running, talk)
        ((_, _, content),) = running.mail()
    assert b" with ESMTPS id " in content
    assert content.endswith(MAIL)


async def test_a_large_message_comes_in_encrypted_in_pieces_of_any_size(
    files: Certificates,
) -> None:
    text = b"".join(b"%d %s\r\n" % (n, b"x" * (n % 900)) for n in range(4000))

    def talk(client: smtplib.SMTP) -> None:
        client.starttls(context=client_context(files))
        client.sendmail("s@x.test", ["r@y.test"], text)

    async with receiving(settings(files, server_tls=True)) as running:
        await say(running, talk)
        ((_, _, content),) = running.mail()
    assert content.endswith(text)


async def test_mail_comes_in_encrypted_from_the_first_octet(files: Certificates) -> None:
    def run(port: int) -> None:
        with smtplib.SMTP_SSL(
            "127.0.0.1", port, "c", timeout=HANG, context=client_context(files)
        ) as client:
            client.ehlo()
            assert not client.has_extn("starttls")
            client.sendmail("s@x.test", ["r@y.test"], MAIL)

    async with receiving(settings(files, server_tls_connection=True)) as running:
        await asyncio.to_thread(run, running.port)
        ((_, _, content),) = running.mail()
    assert b" with ESMTPS id " in content


async def test_what_was_sent_in_clear_behind_starttls_is_never_heard(files: Certificates) -> None:
    # CVE-2011-0411
    async with (
        receiving(settings(files, server_tls=True)) as running,
        running.client() as peer,
    ):
        await peer.reply()
        await peer.ask("EHLO c")
        peer.send(b"STARTTLS\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<r@y>\r\n")
        assert (await peer.reply()).startswith("220")
        await peer.writer.start_tls(client_context(files), server_hostname="127.0.0.1")
        peer.reader._transport = peer.writer.transport  # type: ignore[attr-defined] # see above
        assert (await peer.ask("RCPT TO:<r@y>")).startswith("503")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("503 5.5.1 send EHLO")


async def test_encryption_resets_the_session_and_happens_once(files: Certificates) -> None:
    async with (
        receiving(settings(files, server_tls=True)) as running,
        encrypted(running, client_context(files)) as peer,
    ):
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("503")
        assert "STARTTLS" not in await peer.ask("EHLO c")
        assert (await peer.ask("STARTTLS")).startswith("503")
        assert (await peer.ask("NOOP")).startswith("250")
        assert "STARTTLS" not in await peer.ask("HELP")


async def test_starttls_is_not_there_without_a_certificate() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        assert "STARTTLS" not in await peer.ask("EHLO c")
        assert (await peer.ask("STARTTLS")).startswith("502")


async def test_nothing_but_greetings_is_heard_before_an_encryption_that_is_required(
    files: Certificates,
) -> None:
    async with (
        receiving(settings(files, server_tls=True, server_tls_required=True)) as running,
        running.client() as peer,
    ):
        await peer.reply()
        assert "STARTTLS" in await peer.ask("EHLO c")
        for command in ("MAIL FROM:<a@b>", "VRFY a", "AUTH PLAIN", "DATA"):
            assert (await peer.ask(command)).startswith("530 5.7.0")
        assert (await peer.ask("BDAT 6\r\nQUIT")).startswith("530")
        assert (await peer.ask("NOOP")).startswith("250")
        assert (await peer.ask("STARTTLS now")).startswith("501")


async def test_a_handshake_that_fails_ends_the_session_and_no_other(files: Certificates) -> None:
    async with receiving(settings(files, server_tls=True)) as running:
        async with running.client() as peer:
            await peer.reply()
            await peer.ask("STARTTLS")
            peer.send(b"EHLO c\r\n" * 10)
            assert await peer.closed()
        trouble = await running.until(SessionTrouble)
        assert isinstance(trouble, SessionTrouble)
        assert "TLS handshake" in trouble.reason
        async with running.client() as peer:
            assert (await peer.reply()).startswith("220")


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_handshake_that_never_comes_is_given_up(
    files: Certificates, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> None:
    monkeypatch.setattr("emailrelay_receiver.connection.handshake.HANDSHAKE", 0.2)
    values = {"server_tls_connection": at_once, "server_tls": not at_once}
    async with receiving(settings(files, **values)) as running, running.client() as peer:
        if not at_once:
            await peer.reply()
            await peer.ask("STARTTLS")
        assert await peer.closed()
        await running.empty()


async def test_the_end_of_the_service_does_not_wait_for_a_handshake(files: Certificates) -> None:
    async with running_client(files) as peer:
        assert await peer.closed()


@asynccontextmanager
async def running_client(files: Certificates) -> AsyncGenerator[Peer]:
    """Give a client in the middle of a handshake, whose receiver has ended."""
    reader: asyncio.StreamReader
    async with receiving(settings(files, server_tls=True)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await peer.reply()
        await peer.ask("STARTTLS")
    yield peer
    writer.transport.abort()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy(
    files: Certificates, version: ssl.TLSVersion
) -> None:
    context = client_context(files)
    context.minimum_version = context.maximum_version = version
    async with (
        receiving(settings(files, server_tls=True)) as running,
        encrypted(running, context) as peer,
    ):
        name, _, _ = peer.writer.get_extra_info("cipher")
        assert "GCM" in name or "CHACHA20" in name


@pytest.mark.parametrize("ciphers", ["AES256-SHA", "ECDHE-RSA-AES256-SHA384", "AES128-GCM-SHA256"])
async def test_ciphers_of_old_are_not_spoken(files: Certificates, ciphers: str) -> None:
    context = client_context(files)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    async with receiving(settings(files, server_tls=True)) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with encrypted(running, context):
                pass


async def test_a_client_that_breaks_the_encryption_off_is_only_gone(files: Certificates) -> None:
    async with receiving(settings(files, server_tls=True)) as running:
        async with encrypted(running, client_context(files)) as peer:
            await peer.ask("EHLO c")
            sock = peer.writer.get_extra_info("socket")
            sock.shutdown(1)
        async with encrypted(running, client_context(files)) as peer:
            await peer.ask("EHLO c")
            peer.reset()
        await running.empty()
        assert not [e for e in running.events if "error of ours" in str(e)]


@pytest.mark.parametrize(
    ("words", "version"), [(["tlsv1.3"], "TLSv1_2"), (["-tlsv1.2"], "TLSv1_3")]
)
async def test_a_version_of_tls_that_is_not_configured_is_refused(
    files: Certificates, words: list[str], version: str
) -> None:
    context = client_context(files)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    async with receiving(settings(files, server_tls=True, tls_config=words)) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with encrypted(running, context):
                pass
        async with encrypted(running, client_context(files)) as peer:
            assert (await peer.ask("NOOP")).startswith("250")
