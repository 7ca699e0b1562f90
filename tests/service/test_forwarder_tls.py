"""Encryption towards servers: the refusals, their reasons, and nothing secret in clear."""

import asyncio
import datetime as dt
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from tests.fakes.secure_peer import SecurePeer
from tests.service.certificates import Authority, of_subject_only, old_only
from tests.service.forwarding import HASTY, PATIENT, Office, sent, why

from emailrelay.events.servers import SmarthostTrouble
from emailrelay.settlement import Defer, Done
from emailrelay_forwarder.session.policy import Mode, Policy, Tls, Version
from emailrelay_forwarder.session.session_settings import SessionSettings

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def under(tls: Tls, settings: SessionSettings = PATIENT) -> SessionSettings:
    return replace(settings, policy=Policy(tls=tls))


def verified(authority: Authority, mode: Mode = Mode.REQUIRED) -> Tls:
    return Tls(mode=mode, verify=True, authorities=authority.path)


def nothing_but_starttls(peer: SecurePeer) -> bool:
    """Tell whether the peer saw no mail and no password in clear, and took no mail at all."""
    words = [line.split(b" ")[0] for line in bytes(peer.clear).split(b"\r\n")[:-1]]
    return not peer.contents and words in ([b"EHLO"], [b"EHLO", b"STARTTLS"], [])


async def test_offered_tls_is_used_without_being_asked_for(authority: Authority) -> None:
    async with SecurePeer(authority.context()) as peer:
        settlement, _ = await sent(peer, PATIENT)
    assert isinstance(settlement, Done)
    assert bytes(peer.clear) == b"EHLO us.test\r\nSTARTTLS\r\n"
    assert peer.verbs()[2:] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert peer.versions == ["TLSv1.3"]


async def test_mail_goes_in_clear_where_no_tls_is_offered_nor_required() -> None:
    async with SecurePeer() as peer:
        settlement, _ = await sent(peer, PATIENT)
    assert isinstance(settlement, Done)
    assert b"MAIL" in peer.clear


async def test_tls_can_be_switched_off(authority: Authority) -> None:
    async with SecurePeer(authority.context()) as peer:
        settlement, _ = await sent(peer, under(Tls(mode=Mode.OFF)))
    assert isinstance(settlement, Done)
    assert "STARTTLS" not in peer.verbs()


async def test_tls_from_the_first_octet(authority: Authority) -> None:
    async with SecurePeer(authority.context(), implicit=True) as peer:
        settlement, _ = await sent(peer, under(verified(authority, Mode.IMPLICIT)))
    assert isinstance(settlement, Done)
    assert bytes(peer.clear) == b""


async def test_stripped_starttls_defers_and_sends_nothing(authority: Authority) -> None:
    async with SecurePeer(authority.context(), offers_in_clear=("8BITMIME",)) as peer:
        settlement, office = await sent(peer, under(Tls(mode=Mode.REQUIRED)))
    assert "STARTTLS" in why(settlement)
    assert bytes(peer.clear) == b"EHLO us.test\r\n"
    assert len(office.events(SmarthostTrouble)) == 1


async def test_verification_alone_requires_tls(authority: Authority) -> None:
    async with SecurePeer(authority.context(), offers_in_clear=("8BITMIME",)) as peer:
        tls = Tls(verify=True, authorities=authority.path)
        settlement, _ = await sent(peer, under(tls))
    assert "STARTTLS" in why(settlement)
    assert nothing_but_starttls(peer)


@pytest.mark.parametrize("answer", [b"454 4.7.0 not now\r\n", b"554 5.0.0 never\r\n", b"hello\r\n"])
@pytest.mark.parametrize("mode", [Mode.OPPORTUNISTIC, Mode.REQUIRED])
async def test_refused_starttls_defers(authority: Authority, mode: Mode, answer: bytes) -> None:
    async with SecurePeer(authority.context(), starttls=answer) as peer:
        settlement, _ = await sent(peer, under(Tls(mode=mode)))
    assert isinstance(settlement, Defer)
    assert nothing_but_starttls(peer)


@pytest.mark.parametrize(
    "injected", [b"250-fine\r\n250 AUTH PLAIN\r\n", b"250", b"\x16\x03", b"454 no\r\n"]
)
async def test_octets_injected_before_the_handshake_end_the_session(
    authority: Authority, injected: bytes
) -> None:
    answer = b"220 2.0.0 go ahead\r\n" + injected
    async with SecurePeer(authority.context(), starttls=answer) as peer:
        settlement, _ = await sent(peer, under(verified(authority)))
    assert isinstance(settlement, Defer)
    assert nothing_but_starttls(peer)


async def test_words_in_clear_before_implicit_tls_end_the_session(authority: Authority) -> None:
    async with SecurePeer() as peer:
        settlement, _ = await sent(peer, under(verified(authority, Mode.IMPLICIT)))
    assert isinstance(settlement, Defer)
    assert peer.contents == []
    assert b"EHLO" not in peer.clear


async def test_stalled_handshake_defers(authority: Authority) -> None:
    async with SecurePeer(authority.context(), stall=True) as peer:
        settlement, _ = await sent(peer, under(verified(authority), HASTY))
    assert "no end within 0.3 s" in why(settlement)
    assert nothing_but_starttls(peer)


@pytest.mark.parametrize(
    ("names", "not_before", "not_after", "said"),
    [
        (("127.0.0.1",), None, NOW - DAY, "certificate has expired"),
        (("127.0.0.1",), NOW + DAY, NOW + 2 * DAY, "certificate is not yet valid"),
        (("other.test",), None, None, "IP address mismatch"),
    ],
)
async def test_bad_certificate_defers_and_is_named(
    authority: Authority,
    names: tuple[str, ...],
    not_before: dt.datetime | None,
    not_after: dt.datetime | None,
    said: str,
) -> None:
    context = authority.context(*names, not_before=not_before, not_after=not_after)
    async with SecurePeer(context) as peer:
        settlement, office = await sent(peer, under(verified(authority)))
    assert f"the server's certificate cannot be trusted: {said}" in why(settlement)
    assert said in office.events(SmarthostTrouble)[0].reason
    assert nothing_but_starttls(peer)


async def test_certificate_that_vouches_for_itself_defers(
    authority: Authority, tmp_path: Path
) -> None:
    context, _ = of_subject_only(tmp_path, "127.0.0.1")
    async with SecurePeer(context) as peer:
        settlement, _ = await sent(peer, under(verified(authority)))
    assert "self-signed certificate" in why(settlement)
    assert nothing_but_starttls(peer)


async def test_certificate_of_an_unknown_authority_defers(authority: Authority) -> None:
    async with SecurePeer(Authority(authority.folder, trustme.CA()).context()) as peer:
        settlement, _ = await sent(peer, under(verified(authority)))
    assert "cannot be trusted" in why(settlement)
    assert nothing_but_starttls(peer)


async def test_systems_authorities_do_not_vouch_for_ours(authority: Authority) -> None:
    async with SecurePeer(authority.context()) as peer:
        settlement, _ = await sent(peer, under(Tls(verify=True)))
    assert "cannot be trusted" in why(settlement)
    assert nothing_but_starttls(peer)


async def test_name_in_the_subject_alone_is_none(tmp_path: Path) -> None:
    context, own = of_subject_only(tmp_path, "localhost")
    async with SecurePeer(context) as peer:
        tls = Tls(verify=True, authorities=own, verify_name="localhost")
        settlement, _ = await sent(peer, under(tls))
    assert "mismatch" in why(settlement)
    assert nothing_but_starttls(peer)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("mode", [Mode.OPPORTUNISTIC, Mode.REQUIRED])
async def test_old_versions_are_not_spoken(
    authority: Authority, version: ssl.TLSVersion, mode: Mode
) -> None:
    async with SecurePeer(old_only(authority, version)) as peer:
        settlement, _ = await sent(peer, under(Tls(mode=mode)))
    assert "TLS handshake" in why(settlement)
    assert nothing_but_starttls(peer)


async def test_ciphers_without_identity_are_not_spoken(authority: Authority) -> None:
    context = authority.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    async with SecurePeer(context) as peer:
        settlement, _ = await sent(peer, under(Tls(mode=Mode.REQUIRED)))
    assert "TLS handshake" in why(settlement)
    assert nothing_but_starttls(peer)


async def test_version_can_be_limited(authority: Authority) -> None:
    async with SecurePeer(authority.context()) as peer:
        tls = replace(verified(authority), most=Version.TLS_1_2)
        assert isinstance((await sent(peer, under(tls)))[0], Done)
    assert peer.versions == ["TLSv1.2"]


@pytest.mark.parametrize("asked", [None, "ask.test"])
async def test_name_to_verify_may_differ_from_the_host(
    authority: Authority, asked: str | None
) -> None:
    async with SecurePeer(authority.context("mail.test")) as peer:
        tls = replace(verified(authority), verify_name="mail.test", server_name=asked)
        assert isinstance((await sent(peer, under(tls)))[0], Done)
    assert peer.names == [asked or "mail.test"]


async def test_wrong_name_behind_the_name_asked_for_defers(authority: Authority) -> None:
    async with SecurePeer(authority.context("ask.test")) as peer:
        tls = replace(verified(authority), verify_name="mail.test", server_name="ask.test")
        settlement, _ = await sent(peer, under(tls))
    assert "it is for ask.test, not for mail.test" in why(settlement)
    assert peer.contents == []
    assert peer.verbs() == ["EHLO", "STARTTLS"]


async def test_our_certificate_is_shown_to_servers_that_ask(
    authority: Authority, tmp_path: Path
) -> None:
    own = tmp_path / "client.pem"
    authority.ca.issue_cert("us.test").private_key_and_cert_chain_pem.write_to_path(own)
    context = authority.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    async with SecurePeer(context) as peer:
        tls = replace(verified(authority), certificate=(str(own),))
        assert isinstance((await sent(peer, under(tls)))[0], Done)
        assert isinstance((await sent(peer, under(verified(authority))))[0], Defer)
    assert peer.client_certificates[0] is not None
    assert len(peer.contents) == 1


async def test_missing_certificate_file_defers_and_is_named(authority: Authority) -> None:
    async with SecurePeer(authority.context()) as peer:
        tls = Tls(verify=True, authorities="/nonexistent/ca.pem")
        settlement, _ = await sent(peer, under(tls))
    assert "/nonexistent/ca.pem" in why(settlement)
    assert nothing_but_starttls(peer)


async def test_server_that_ends_tls_rudely_costs_nothing(authority: Authority) -> None:
    async with SecurePeer(authority.context(), rude=True) as peer:
        settlement, office = await sent(peer, under(verified(authority)))
    assert isinstance(settlement, Done)
    assert office.events(SmarthostTrouble) == []


async def test_large_content_passes_whole_under_tls(authority: Authority) -> None:
    content = b"".join(b"%08d and so on\r\n" % number for number in range(200_000))
    async with SecurePeer(authority.context(), room=1 << 24) as peer:
        office = Office(peer.address, under(verified(authority)))
        async with asyncio.timeout(30):
            assert isinstance(await office.forward(await office.put(content=content)), Done)
        await office.forwarding.close()
    assert peer.contents == [content + b".\r\n"]
