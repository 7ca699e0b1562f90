"""Encryption as clients see it: STARTTLS, TLS from the first octet, certificates, and refusals."""

import asyncio
import smtplib
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.fakes.certificates import Certificates, make_certificates
from tests.service.receiving import HANG, Peer, Running, receiving

from emailrelay.config import ReceiverSettings
from emailrelay.errors import ConfigError
from emailrelay.events.receiving import SessionTrouble
from emailrelay_receiver.clients.tls_context import server_context

MAIL = b"Subject: x\r\n\r\ntext\r\n"


@pytest.fixture(name="files")
def make_files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def settings(files: Certificates, **values: object) -> ReceiverSettings:
    given = {"server_tls_certificate": str(files.server), "domain": "relay.test", **values}
    return ReceiverSettings.model_validate(given)


def client_context(files: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.authority))


async def say(running: Running, talk: Callable[[smtplib.SMTP], None]) -> None:
    """Run smtplib in a thread."""

    def run() -> None:
        with smtplib.SMTP("127.0.0.1", running.port, "client.test", timeout=HANG) as client:
            talk(client)

    await asyncio.to_thread(run)


@asynccontextmanager
async def encrypted(
    running: Running, context: ssl.SSLContext, *, at_once: bool = False
) -> AsyncGenerator[Peer]:
    """Send as a raw peer after STARTTLS, or over TLS from the first octet."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        running.port,
        ssl=context if at_once else None,
        server_hostname="127.0.0.1" if at_once else None,
    )
    peer = Peer(reader, writer)
    try:
        if not at_once:
            await peer.reply()
            assert (await peer.ask("STARTTLS")).startswith("220")
            await writer.start_tls(context, server_hostname="127.0.0.1")
            reader._transport = writer.transport  # type: ignore[attr-defined] # asyncio of 3.11 forgets it
        yield peer
    finally:
        writer.transport.abort()


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
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("503 5.5.1 say EHLO")


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


async def test_a_client_shows_its_certificate_and_the_envelope_keeps_it(
    files: Certificates,
) -> None:
    context = client_context(files)
    context.load_cert_chain(files.client)

    def talk(client: smtplib.SMTP) -> None:
        client.starttls(context=context)
        client.sendmail("s@x.test", ["r@y.test"], MAIL)

    values = {"server_tls": True, "server_tls_verify": str(files.authority)}
    async with receiving(settings(files, **values)) as running:
        await say(running, talk)
        ((_, envelope, _),) = running.mail()
    shown = ssl.PEM_cert_to_DER_cert(envelope.client_certificate)
    assert shown == ssl.PEM_cert_to_DER_cert(_first_certificate(files.client))
    assert envelope.arrival is not None
    assert envelope.arrival.tls in {"TLSv1.2", "TLSv1.3"}
    assert envelope.arrival.cipher


def _first_certificate(path: Path) -> str:
    text = path.read_text()
    end = "-----END CERTIFICATE-----\n"
    return text[text.index("-----BEGIN CERTIFICATE") : text.index(end) + len(end)]


async def test_a_client_without_a_valid_certificate_is_not_served(
    files: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = client_context(files)
    stranger.load_cert_chain(make_certificates(tmp_path / "other").client)
    values = {"server_tls": True, "server_tls_verify": str(files.authority)}
    async with receiving(settings(files, **values)) as running:
        for context in (client_context(files), stranger):
            try:
                async with encrypted(running, context) as peer:
                    assert await peer.ask("EHLO c") == ""
            except (ssl.SSLError, ConnectionError):
                pass
        assert not running.mail()


async def test_a_client_that_must_show_a_certificate_can_do_nothing_in_clear(
    files: Certificates,
) -> None:
    values = {"server_tls": True, "server_tls_verify": str(files.authority)}
    async with receiving(settings(files, **values)) as running, running.client() as peer:
        await peer.reply()
        assert "STARTTLS" in await peer.ask("EHLO c")
        for command in ("MAIL FROM:<a@b>", "VRFY a", "AUTH PLAIN", "RCPT TO:<a@b>", "DATA"):
            assert (await peer.ask(command)).startswith("530 5.7.0")
        assert (await peer.ask("BDAT 6\r\nQUIT")).startswith("530")
        assert not running.mail()


async def test_a_client_of_a_unix_socket_must_show_a_certificate_too(
    files: Certificates, tmp_path: Path
) -> None:
    place = tmp_path / "smtp"
    values = {"server_tls": True, "server_tls_verify": str(files.authority)}
    async with receiving(settings(files, **values), place=str(place)):
        reader, writer = await asyncio.open_unix_connection(place)
        peer = Peer(reader, writer)
        await peer.reply()
        await peer.ask("EHLO c")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("530 5.7.0")
        writer.transport.abort()


async def test_a_reload_that_asks_for_certificates_has_new_clients_encrypt(
    files: Certificates,
) -> None:
    async with receiving(settings(files, server_tls=True)) as running:
        values = {"server_tls": True, "server_tls_verify": str(files.authority)}
        running.follow(settings(files, **values))
        async with running.client() as peer:
            await peer.reply()
            await peer.ask("EHLO c")
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("530 5.7.0")


async def test_who_encrypts_from_the_first_octet_must_show_a_certificate(
    files: Certificates,
) -> None:
    values = {"server_tls_connection": True, "server_tls_verify": str(files.authority)}
    known = client_context(files)
    known.load_cert_chain(files.client)
    async with receiving(settings(files, **values)) as running:
        async with encrypted(running, known, at_once=True) as peer:
            await peer.reply()
            await peer.ask("EHLO c")
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")
        try:
            async with encrypted(running, client_context(files), at_once=True) as peer:
                assert await peer.reply() == ""
        except (ssl.SSLError, ConnectionError):
            pass


def test_asking_for_certificates_without_encryption_is_an_error(files: Certificates) -> None:
    with pytest.raises(ValidationError, match="needs a way to encrypt"):
        settings(files, server_tls_verify=str(files.authority))


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


def test_a_key_that_others_can_read_is_refused(files: Certificates) -> None:
    files.server.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod o="):
        server_context([files.server], None)


def test_unusable_files_are_told(files: Certificates, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        server_context([tmp_path / "none"], None)
    files.server.write_text("nothing")
    with pytest.raises(ConfigError, match="no usable key"):
        server_context([files.server], None)
    with pytest.raises(ConfigError, match="authorities"):
        server_context([files.client], str(files.server))


def test_key_and_chain_may_stand_in_two_files(files: Certificates, tmp_path: Path) -> None:
    text = files.server.read_text()
    cut = text.index("-----BEGIN CERTIFICATE")
    key, chain = tmp_path / "key", tmp_path / "chain"
    key.write_text(text[:cut])
    key.chmod(0o600)
    chain.write_text(text[cut:])
    server_context([key, chain], None)


def test_a_key_that_needs_a_password_is_told_and_not_asked_for(
    files: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "locked"
    path.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no usable key"):
        server_context([path, files.server], None)


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
