"""Logins as clients do them, by each mechanism."""

import asyncio
import base64
import hashlib
import hmac
import smtplib
from pathlib import Path

import pytest
from tests.service.receiver_login.users import PASSWORD, b64, greeted, plain, settings, write
from tests.service.receiving import HANG, receiving

from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.events.receiving import LoggedIn


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
