"""Logins as clients do them, and the limits for clients without a login."""

import asyncio
import base64
import hashlib
import hmac
import smtplib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.certificates import Certificates, make_certificates
from tests.service.receiving import HANG, Peer, Running, receiving
from tests.service.test_receiver_tls import client_context, encrypted

from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.client_source import is_local
from emailrelay.config import ReceiverSettings
from emailrelay.events import Dialogue, LoggedIn, LoginFailed
from emailrelay.secrets import md5_state
from emailrelay.secrets.key import make_scrypt, write_scrypt

PASSWORD = "open sesame"  # noqa: S105 - of nobody


@pytest.fixture(name="secrets")
def make_secrets(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    hashed = write_scrypt(make_scrypt(PASSWORD, b"0123456789abcdef"))
    md5 = md5_state.to_text(md5_state.masked(PASSWORD))
    path.write_text(
        f"server plain alice open+20sesame\nserver scrypt bob {hashed}\nserver md5 carol {md5}\n"
    )
    path.chmod(0o600)
    return path


@pytest.fixture(name="files", scope="session")
def make_files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def settings(secrets: Path, **values: object) -> ReceiverSettings:
    given = {"domain": "relay.test", "server_auth": str(secrets), **values}
    return ReceiverSettings.model_validate(given)


def _nobody_is_local(_: str) -> bool:
    return False


def write(path: Path, text: str) -> None:
    path.write_text(text)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plain(user: str, password: str, identity: str = "") -> str:
    return b64(f"{identity}\0{user}\0{password}")


async def greeted(peer: Peer) -> str:
    await peer.reply()
    return await peer.ask("EHLO c")


@pytest.mark.parametrize("user", ["alice", "bob", "carol"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_smtplib_logs_in_and_the_envelope_says_who(
    secrets: Path, user: str, mechanism: str
) -> None:
    def run(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, "c", timeout=HANG) as client:
            client.ehlo()
            client.user, client.password = user, PASSWORD
            name = "auth_" + mechanism.lower().replace("-", "_")
            client.auth(mechanism, getattr(client, name))
            client.sendmail("s@x.test", ["r@y.test"], b"text\r\n", ["AUTH=s+2Bt@x"])

    async with receiving(settings(secrets)) as running:
        if (user, mechanism) == ("bob", "CRAM-MD5"):
            running.context.login_pause = 0.0
            with pytest.raises(smtplib.SMTPAuthenticationError):
                await asyncio.to_thread(run, running.port)
            return
        await asyncio.to_thread(run, running.port)
        ((_, envelope, content),) = running.mail()
        told = await running.until(LoggedIn)
    assert (envelope.authentication, envelope.mail_from_auth_in) == (user, "s+2Bt@x")
    assert envelope.arrival == ArrivalFacts(helo="c", mechanism=mechanism)
    assert b" with ESMTPA id " in content
    assert isinstance(told, LoggedIn)
    assert (told.user, told.mechanism) == (user, mechanism)


async def test_the_dialogue_goes_with_and_without_an_initial_response(secrets: Path) -> None:
    for dialogue in (
        [("AUTH plain " + plain("alice", PASSWORD), "235 2.7.0 ")],
        [("auth PLAIN", "334 "), (plain("alice", PASSWORD, "alice"), "235 2.7.0 ")],
        [
            ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
            (b64("bob"), "334 UGFzc3dvcmQ6"),
            (b64(PASSWORD), "235 2.7.0 "),
        ],
        [("AUTH login " + b64("bob"), "334 UGFzc3dvcmQ6"), (b64(PASSWORD), "235 2.7.0 ")],
    ):
        async with receiving(settings(secrets)) as running, running.client() as peer:
            assert "AUTH PLAIN LOGIN CRAM-MD5" in await greeted(peer)
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("530 5.7.0 ")
            for said, expected in dialogue:
                assert (await peer.ask(said)).startswith(expected)
            assert "AUTH" not in await peer.ask("EHLO c")
            assert (await peer.ask("AUTH PLAIN")).startswith("503")
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["AUTH"], "501 5.5.4"),
        (["AUTH GSSAPI"], "504 5.5.4"),
        (["AUTH XOAUTH2 AA=="], "504 5.5.4"),
        (["AUTH PLAIN !!!"], "501 5.5.2"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH PLAIN", "x" * 12291], "500 5.5.6"),
        (
            [
                "AUTH PLAIN =",
            ],
            "501 5.5.2",
        ),
        (["AUTH PLAIN " + b64("alice")], "501 5.5.2"),
        (["AUTH PLAIN " + plain("alice", PASSWORD, "bob")], "535 5.7.8"),
        (["AUTH PLAIN " + plain("alice", "wrong")], "535 5.7.8"),
        (["AUTH PLAIN " + plain("nobody", PASSWORD)], "535 5.7.8"),
        (["AUTH PLAIN " + plain("", "")], "535 5.7.8"),
        (["AUTH PLAIN " + base64.b64encode(b"\0\xff\0x").decode()], "501 5.5.2"),
        (["AUTH LOGIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", b64("alice"), b64("a\0b")], "501 5.5.2"),
        (["AUTH CRAM-MD5 " + b64("x")], "501 5.5.2"),
        (["AUTH CRAM-MD5", b64("x")], "501 5.5.2"),
        (["AUTH CRAM-MD5", b64("alice 0123")], "535 5.7.8"),
        (["AUTH CRAM-MD5", b64("alice " + "ü" * 16)], "535 5.7.8"),
    ],
)
async def test_what_proves_nothing_is_refused_and_the_session_goes_on(
    secrets: Path, said: list[str], expected: str
) -> None:
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        reply = ""
        for line in said:
            reply = await peer.ask(line)
        assert reply.startswith(expected)
        assert (await peer.ask("AUTH PLAIN " + plain("alice", PASSWORD))).startswith("235")


async def test_a_response_may_be_as_long_as_the_rfc_says(secrets: Path) -> None:
    # RFC 4954 section 4
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        long = plain("alice", "x" * 9000)
        assert (await peer.ask(f"AUTH PLAIN {long}")).startswith("535")
        assert (await peer.ask("AUTH PLAIN")).startswith("334")
        assert (await peer.ask(long)).startswith("535")


async def test_a_challenge_differs_each_time_and_an_answer_serves_once(secrets: Path) -> None:
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        challenge = base64.b64decode((await peer.ask("AUTH CRAM-MD5"))[4:])
        digest = hmac.new(PASSWORD.encode(), challenge, hashlib.md5).hexdigest()
        assert (await peer.ask("*")).startswith("501")
        assert base64.b64decode((await peer.ask("AUTH CRAM-MD5"))[4:]) != challenge
        assert (await peer.ask(b64(f"alice {digest}"))).startswith("535")


async def test_too_many_failures_end_the_session_and_are_told(secrets: Path) -> None:
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.01
        await greeted(peer)
        for _ in range(3):
            assert (await peer.ask("AUTH PLAIN " + plain("al\x1bice", "x"))).startswith("535")
        assert (await peer.ask("AUTH PLAIN " + plain("alice", "x"))).startswith("421 4.7.0")
        assert await peer.closed()
        assert isinstance(await running.until(LoginFailed, 4), LoginFailed)


async def test_no_login_during_a_transaction_or_before_ehlo(secrets: Path) -> None:
    write(secrets, "server plain alice open+20sesame\nserver none 127.0.0.0/8 here\n")
    async with receiving(settings(secrets)) as running, running.client() as peer:
        await peer.reply()
        await peer.ask("HELO c")
        assert (await peer.ask("AUTH PLAIN")).startswith("503")
        await peer.ask("EHLO c")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")
        assert (await peer.ask("AUTH PLAIN " + plain("alice", PASSWORD))).startswith("503")
        assert (await peer.ask("RCPT TO:<a@b>")).startswith("250")


async def test_a_client_in_a_trusted_network_needs_no_login(secrets: Path) -> None:
    write(secrets, "server none 127.0.0.1 here\n")
    async with receiving(settings(secrets)) as running, running.client() as peer:
        assert "AUTH" not in await greeted(peer)
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")


async def test_a_stranger_gets_in_to_log_in_and_is_offered_nothing_in_clear(
    secrets: Path, files: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay_receiver.session.arrival.is_local", _nobody_is_local)
    assert is_local("127.0.0.1")
    both = {"server_tls": True, "server_tls_certificate": str(files.server)}
    async with receiving(settings(secrets, **both)) as running:
        async with running.client() as peer:
            assert "AUTH" not in await greeted(peer)
            for command in ("MAIL FROM:<a@b>", "VRFY r@y"):
                assert (await peer.ask(command)).startswith("530 5.7.0 ")
            said = "AUTH PLAIN " + plain("alice", PASSWORD)
            assert (await peer.ask(said)).startswith("538 5.7.11 ")
        async with encrypted(running, client_context(files)) as peer:
            assert "AUTH PLAIN LOGIN CRAM-MD5" in await peer.ask("EHLO c")
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("530")
            assert (await peer.ask(said)).startswith("235")
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")
    async with (
        receiving(settings(secrets, server_auth_config="m:cram-md5", **both)) as running,
        running.client() as peer,
    ):
        assert "AUTH CRAM-MD5\n" in await greeted(peer)


async def test_without_secrets_a_stranger_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emailrelay_receiver.session.arrival.is_local", _nobody_is_local)
    async with receiving() as running, running.client() as peer:
        assert (await peer.reply()).startswith("554 5.7.1")


async def test_a_changed_secrets_file_counts_at_once_and_a_broken_one_does_not(
    secrets: Path,
) -> None:
    async def tries(running: Running, password: str) -> str:
        async with running.client() as peer:
            await greeted(peer)
            return (await peer.ask("AUTH PLAIN " + plain("bob", password)))[:3]

    async with receiving(settings(secrets)) as running:
        running.context.login_pause = 0.0
        assert await tries(running, PASSWORD) == "235"
        write(secrets, "server plain bob new\n")
        assert [await tries(running, p) for p in (PASSWORD, "new")] == ["535", "235"]
        write(secrets, "nonsense\n")
        assert await tries(running, "new") == "235"
        assert "SecretsTrouble" in str(running.events)


async def test_senders_are_bound_to_users(secrets: Path) -> None:
    rules = [
        {"name": "alice", "user": ["alice"], "sender": ["alice@x.test", "*@lists.test"]},
        {"name": "others", "user": ["*"], "sender": ["*@x.test"]},
    ]
    async with receiving(settings(secrets, allow=rules)) as running:
        for user, sender, expected in (
            ("alice", "Alice@X.test", "250"),
            ("alice", "a@lists.test", "250"),
            ("alice", "bob@x.test", "553"),
            ("alice", "", "250"),
            ("bob", "bob@x.test", "250"),
            ("bob", "bob@y.test", "553"),
        ):
            async with running.client() as peer:
                await greeted(peer)
                await peer.ask("AUTH PLAIN " + plain(user, PASSWORD))
                assert (await peer.ask(f"MAIL FROM:<{sender}>")).startswith(expected)


async def test_senders_are_bound_to_networks() -> None:
    rules = [
        {"name": "elsewhere", "network": ["192.0.2.0/24"], "sender": ["*"]},
        {"name": "here", "network": ["127.0.0.0/8", "::1"], "sender": ["*@x.test"]},
    ]
    given = ReceiverSettings.model_validate({"domain": "relay.test", "allow": rules})
    async with receiving(given) as running, running.client() as peer:
        await greeted(peer)
        assert (await peer.ask("MAIL FROM:<bob@y.test>")).startswith("553 5.7.1 ")
        assert (await peer.ask("MAIL FROM:<bob@x.test>")).startswith("250 ")


async def test_the_dialogue_is_told_without_secrets(secrets: Path) -> None:
    async with receiving(settings(secrets, verbose=True)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        await peer.ask("AUTH PLAIN " + plain("alice", "wrong"))
        await peer.ask("AUTH LOGIN")
        await peer.ask(b64("alice"))
        await peer.ask(b64("wrong too"))
        await peer.ask("AUTH PLAIN " + plain("alice", PASSWORD))
        await peer.ask("MAIL FROM:<a@b>")
        text = repr(running.events)
        assert isinstance(await running.until(Dialogue), Dialogue)
    assert "MAIL FROM:<a@b>" in text
    assert "AUTH PLAIN ***" in text
    for secret in ("wrong", PASSWORD):
        for form in (secret, b64(secret), plain("alice", secret), secret.encode().hex()):
            assert form not in text


async def test_secrets_outside_an_exchange_are_not_told(secrets: Path) -> None:
    async with receiving(settings(secrets, verbose=True)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        # A client that does not wait, or does not understand a refusal, goes on with its lines.
        for line in (
            "AUTH LOGIN-X",
            b64("alice"),
            b64(PASSWORD),
            f"AUTH {plain('alice', PASSWORD)}",
            f"AUTH\t{b64(PASSWORD)}",
            plain("alice", PASSWORD),
            f"AUTHPLAIN {b64(PASSWORD)}",
            f"PASS {PASSWORD}",
            PASSWORD,
            f" {b64(PASSWORD)}",
        ):
            assert (await peer.ask(line)).startswith("5"), line
        await peer.ask("MAIL FROM:<a@b>")
        assert isinstance(await running.until(Dialogue), Dialogue)
        text = repr(running.events)
    assert "MAIL FROM:<a@b>" in text
    for form in (PASSWORD, b64("alice"), b64(PASSWORD), plain("alice", PASSWORD)):
        assert form not in text
        assert form[:8].upper() not in text.upper()


async def test_guesses_keep_out_neither_a_cheap_password_nor_each_other_for_long(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running, AsyncExitStack() as stack:
        running.context.login_pause = 1000.0
        peers = [await stack.enter_async_context(running.client()) for _ in range(50)]
        for peer in peers:
            await greeted(peer)
        async with running.client() as good:
            await greeted(good)
            for number, peer in enumerate(peers):
                peer.send(b"AUTH PLAIN " + plain("nobody", str(number)).encode() + b"\r\n")
            replies = [await peer.reply() for peer in peers[5:]]
            assert (await good.ask("AUTH PLAIN " + plain("alice", PASSWORD))).startswith("235")
        assert {reply[:9] for reply in replies} == {"454 4.7.0"}


async def test_who_has_logged_in_from_an_address_is_not_kept_out_by_guesses_from_there(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running, AsyncExitStack() as stack:
        running.context.login_pause = 1000.0
        said = "AUTH PLAIN " + plain("bob", PASSWORD)
        async with running.client() as peer:
            await greeted(peer)
            assert (await peer.ask(said)).startswith("235")
        for number in range(10):
            guesser = await stack.enter_async_context(running.client())
            await greeted(guesser)
            guesser.send(b"AUTH PLAIN " + plain(f"name{number}", "x").encode() + b"\r\n")
        await running.until(LoginFailed, 10)
        async with running.client() as peer:
            await greeted(peer)
            assert (await peer.ask("AUTH PLAIN " + plain("carol", PASSWORD))).startswith("454")
        async with running.client() as peer:
            await greeted(peer)
            assert (await peer.ask(said)).startswith("235")


async def test_many_sessions_that_show_the_same_password_are_checked_once(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashes(monkeypatch)

    async def come(running: Running) -> str:
        async with running.client() as peer:
            await greeted(peer)
            return (await peer.ask("AUTH PLAIN " + plain("bob", PASSWORD)))[:3]

    async with receiving(settings(secrets)) as running:
        replies = await asyncio.gather(*(come(running) for _ in range(20)))
    assert set(replies) == {"235"}
    assert len(hashed) <= 2


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    hashed: list[str] = []
    scrypt = hashlib.scrypt

    def counted(*given: bytes, **costs: Any) -> bytes:
        hashed.append(given[0].decode())
        return scrypt(*given, **costs)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    return hashed


@pytest.mark.parametrize("user", ["alice", "bob", "carol", "nobody"])
async def test_a_wrong_password_costs_one_hash_for_any_name(
    secrets: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashes(monkeypatch)
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        assert (await peer.ask("AUTH PLAIN " + plain(user, "wrong"))).startswith("535")
    assert hashed == ["wrong"]


async def test_a_file_without_hashes_needs_none_for_a_name_it_does_not_know(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(secrets, "server plain alice open+20sesame\n")
    hashed = count_hashes(monkeypatch)
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        for user in ("alice", "nobody"):
            assert (await peer.ask("AUTH PLAIN " + plain(user, "wrong"))).startswith("535")
    assert not hashed


async def test_failures_count_over_the_sessions_of_an_address_and_over_reloads(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running:
        for _ in range(3):
            running.context.login_pause = 0.0
            async with running.client() as peer:
                await greeted(peer)
                for _ in range(2):
                    said = "AUTH PLAIN " + plain("alice", "wrong")
                    assert (await peer.ask(said)).startswith("535")
            running.follow(settings(secrets))
        assert running.context.attempts.failed("loopback") > 6


async def test_the_end_of_the_service_does_not_wait_for_the_pause_of_a_guesser(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running:
        running.context.login_pause = 1000.0
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await greeted(peer)
        peer.send(b"AUTH PLAIN " + plain("alice", "wrong").encode() + b"\r\n")
        await running.until(LoginFailed)
    assert (await peer.reply()).startswith("535")
    assert (await peer.reply()).startswith("421 4.3.2")
    writer.transport.abort()


async def test_a_login_in_clear_does_not_count_behind_starttls(
    secrets: Path, files: Certificates
) -> None:
    # RFC 3207 section 4.2
    both = {"server_tls": True, "server_tls_certificate": str(files.server)}
    said = "AUTH PLAIN " + plain("alice", PASSWORD)
    async with receiving(settings(secrets, **both)) as running, running.client() as peer:
        await greeted(peer)
        assert (await peer.ask(said)).startswith("235")
        assert (await peer.ask("STARTTLS")).startswith("220")
        await peer.writer.start_tls(client_context(files), server_hostname="127.0.0.1")
        peer.reader._transport = peer.writer.transport  # type: ignore[attr-defined] # asyncio of 3.11 forgets it
        assert "AUTH PLAIN" in await peer.ask("EHLO c")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("530")
        assert (await peer.ask(said)).startswith("235")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")
