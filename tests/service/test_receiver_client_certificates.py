"""Clients that must show a certificate, and those that have none."""

import asyncio
import smtplib
import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.fakes.certificates import Certificates, make_certificates
from tests.service.receiving import Peer, receiving
from tests.service.receiving_tls import MAIL, client_context, encrypted, say, settings


@pytest.fixture(name="files")
def make_files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


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
