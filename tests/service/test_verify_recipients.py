"""The next server's answer at RCPT: a real receiver, a forwarder's answers, a scripted server."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.fakes.smtp_peer import Close, Hang, Say, Script, SmtpPeer
from tests.service.certificates import Authority
from tests.service.forwarding import CONTENT, PATIENT, Office
from tests.service.verifying import client_of, proxied

from emailrelay import silence
from emailrelay.ack import Ack
from emailrelay.config import ForwarderSettings, ReceiverSettings
from emailrelay.config.reading import read
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.events.accounts import SignInRefused
from emailrelay.events.receiving import RecipientChecked, RecipientUnchecked
from emailrelay.reply import Reply
from emailrelay.routes import Route, Routes
from emailrelay.secrets import ClientAccount, Form, Secret
from emailrelay.stage import Stage
from emailrelay_forwarder.delivery import recipient_check
from emailrelay_forwarder.delivery.recipient_question import RecipientQuestion
from emailrelay_forwarder.session.account import Account, of_secrets
from emailrelay_forwarder.session.policy import Mode, Policy, Tls
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_receiver.session import address_check

PIPELINING = {"EHLO": "250-peer.test\r\n250-PIPELINING\r\n250 SMTPUTF8"}


PLAIN = {"EHLO": "250 peer.test"}


ACCEPTED = "250 2.1.5 recipient ok"


@pytest.mark.parametrize("script", [PLAIN, PIPELINING])
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("550 5.1.1 no such user", "550 5.1.1 no such user"),
        ("450 4.7.1 greylisted", "450 4.7.1 greylisted"),
        ("552 5.2.2 full|today", "552 5.2.2 full?today"),
        ("550 unknown", "550 5.1.1 unknown"),
        ("550 5.1.1 unbekannt: Jörg", "550 5.1.1 unbekannt: Jörg"),
        ("556 5.1.10 null MX", "556 5.1.10 null MX"),
        ("451 later", "451 4.2.0 later"),
        ("550-5.1.1 a\r\n550 5.1.1 b", "550 5.1.1 a 5.1.1 b"),
        ("550 5.1.1 \x1b[2Jno", "550 5.1.1  [2Jno"),
    ],
)
async def test_client_hears_the_next_servers_refusal(
    tmp_path: Path, script: dict[str, str], said: str, heard: str
) -> None:
    async with (
        SmtpPeer(script, recipients={b"bad@y.test": said}) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        assert await client.rcpt("bad@y.test") == heard
        assert (await client.rcpt("good@y.test")).startswith("250")
        assert peer.connections == 1
        results = [e.result for e in client.running.events if isinstance(e, RecipientChecked)]
    assert results == ["refused" if heard[0] == "5" else "deferred", "accepted"]


async def test_endless_refusal_is_cut(tmp_path: Path) -> None:
    said = "550 5.1.1 " + "x" * 5000
    async with (
        SmtpPeer(recipients={b"r@y.test": said}) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        heard = await client.rcpt()
    assert heard.startswith("550 5.1.1 xxx")
    assert len(heard) <= 510


@pytest.mark.parametrize("script", [PLAIN, PIPELINING])
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("550 5.7.1 not from you", "550 5.7.1 not from you"),
        ("550 not from you", "550 5.1.0 sender refused: not from you"),
    ],
)
async def test_refused_sender_is_the_answer_at_rcpt(
    tmp_path: Path, script: dict[str, str], said: str, heard: str
) -> None:
    async with (
        SmtpPeer({**script, "MAIL": said}) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        assert await client.rcpt() == heard


async def test_recipients_of_a_sender_are_asked_about_in_one_transaction(tmp_path: Path) -> None:
    async with (
        SmtpPeer() as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        for recipient in ("a@y.test", "b@y.test"):
            await client.rcpt(recipient)
        await client.mail("")
        await client.rcpt("c@y.test")
        said = [command.partition(" ")[2] for command in peer.commands]
        assert peer.connections == 1
    assert said[1:] == [
        "MAIL FROM:<s@x.test>",
        "RCPT TO:<a@y.test>",
        "RCPT TO:<b@y.test>",
        "RSET",
        "MAIL FROM:<>",
        "RCPT TO:<c@y.test>",
    ]


async def test_delivery_takes_the_connection_of_its_clients_questions() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        asked = RecipientQuestion(Address("r@y.test"), Address("s@x.test"), "", "s1", utf8=False)
        assert (await office.forwarding.recipient_check.ask(asked)).reply is not None
        envelope = Envelope(sender=Address("s@x.test"), to_remote=(Address("r@y.test"),))
        async with office.store.draft(envelope) as draft:
            draft.write(CONTENT)
            await draft.commit(Stage.READY, Ack.DELIVERED, "s1")
            waiting = asyncio.create_task(draft.answer(10))
            await asyncio.sleep(0)
            await office.forward(draft.id)
            assert (await waiting) == Reply(250, "2.0.0 taken")
        await office.forwarding.close()
        assert peer.connections == 1
        assert peer.messages[0].recipients == [b"r@y.test"]


async def test_answers_count_for_all_clients_for_a_while(tmp_path: Path) -> None:
    refusals = {b"bad@y.test": "550 5.1.1 no", b"later@y.test": "450 4.2.0 later"}
    async with (
        SmtpPeer(recipients=refusals) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
        client_of(client.running) as other,
    ):
        for one in (client, other):
            assert (await one.rcpt("good@y.test")).startswith("250")
            assert await one.rcpt("bad@y.test") == "550 5.1.1 no"
            assert await one.rcpt("later@y.test") == "450 4.2.0 later"
        asked = peer.lines("RCPT")
    # The next answer to a temporary refusal may be another.
    assert sorted(asked) == [
        "RCPT TO:<bad@y.test>",
        "RCPT TO:<good@y.test>",
        "RCPT TO:<later@y.test>",
        "RCPT TO:<later@y.test>",
    ]


async def test_addresses_beyond_ascii_need_a_server_that_takes_them(tmp_path: Path) -> None:
    for script, heard in ((PIPELINING, "250"), (PLAIN, "553 5.6.7")):
        async with (
            SmtpPeer(script) as peer,
            proxied(tmp_path, Office(peer.address)) as client,
        ):
            await client.mail("s@x.test", " SMTPUTF8")
            assert (await client.rcpt("jösé@y.test")).startswith(heard)
            asked = ["MAIL FROM:<s@x.test> SMTPUTF8"] if heard == "250" else []
            assert peer.lines("MAIL") == asked


async def test_silent_server_delays_one_client_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipient_check, "WITHIN", 1.5)
    async with (
        SmtpPeer({"RCPT": Hang()}) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        for recipient in ("a@y.test", "b@y.test", "c@y.test"):
            assert (await client.rcpt(recipient)).startswith("250")
        assert peer.lines("RCPT") == ["RCPT TO:<a@y.test>"]
        reasons = [e.reason for e in client.running.events if isinstance(e, RecipientUnchecked)]
    assert "no answer within 1.5 s" in reasons[0]
    assert "gave no answer a short time ago" in reasons[1]


async def test_route_is_asked_again_by_one_question_after_the_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "PAUSE", 0.0)
    script: Script = {"RCPT": [Say(b"421 4.3.2 not now\r\n", then_close=True), "550 5.1.1 no"]}
    async with (
        SmtpPeer(script) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        assert (await client.rcpt()).startswith("250")
        assert await client.rcpt() == "550 5.1.1 no"


async def test_server_that_cannot_be_reached_means_250(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    async with proxied(tmp_path, Office(address)) as client:
        assert (await client.rcpt()).startswith("250")
        event = await client.running.until(RecipientUnchecked)
    assert "connection refused" in str(event)


async def test_session_that_the_server_closed_is_replaced(tmp_path: Path) -> None:
    async with (
        SmtpPeer({"RCPT": ["250 2.1.5 ok", Close(), "550 5.1.1 no"]}) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        await client.rcpt("a@y.test")
        assert await client.rcpt("b@y.test") == "550 5.1.1 no"
        assert peer.connections == 2


async def test_servers_limit_of_recipients_concerns_none_of_them(tmp_path: Path) -> None:
    script = {"RCPT": ["250 2.1.5 ok", "452 4.5.3 too many recipients", "550 5.1.1 no"]}
    async with (
        SmtpPeer(script) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        await client.rcpt("a@y.test")
        assert await client.rcpt("b@y.test") == "550 5.1.1 no"
        assert len(peer.lines("MAIL")) == 2


async def test_client_with_wrong_addresses_does_not_slow_the_mail_of_others(
    tmp_path: Path,
) -> None:
    end = Say(b"421 4.7.0 too many errors\r\n", then_close=True)
    async with SmtpPeer(
        {"RCPT": ["550 5.1.1 no", end, "550 5.1.1 no", end, "550 5.1.1 no"]}
    ) as peer:
        office = Office(peer.address)
        async with proxied(tmp_path, office) as client:
            for recipient in ("a@y.test", "b@y.test", "c@y.test"):
                assert await client.rcpt(recipient) == "550 5.1.1 no"
            assert not office.forwarding.paused
            await office.send("good@y.test")
        assert len(peer.messages) == 1


async def test_question_goes_to_the_server_of_the_route(tmp_path: Path) -> None:
    async with (
        SmtpPeer({"RCPT": "550 5.1.1 one"}) as one,
        SmtpPeer({"RCPT": "550 5.1.1 two"}) as two,
    ):
        first = Route(
            name="one",
            smarthosts=(one.address,),
            sender=("a.test",),
            envelope_from="bounces@us.test",
        )
        default = Route(name="default", smarthosts=(two.address,))
        office = Office("", routes=Routes(listed=(first,), default=default))
        async with proxied(tmp_path, office) as client:
            assert await client.rcpt() == "550 5.1.1 two"
            await client.mail("s@a.test")
            assert await client.rcpt() == "550 5.1.1 one"
        assert one.lines("MAIL") == ["MAIL FROM:<bounces@us.test>"]


async def test_second_server_of_a_route_answers_for_the_first(tmp_path: Path) -> None:
    async with (
        SmtpPeer({"greeting": "421 4.3.2 no"}) as one,
        SmtpPeer({"RCPT": "550 5.1.1 no"}) as two,
    ):
        route = Route(name="default", smarthosts=(one.address, two.address))
        async with proxied(tmp_path, Office("", routes=Routes(default=route))) as client:
            assert await client.rcpt() == "550 5.1.1 no"


async def test_no_question_goes_in_clear_where_tls_is_required(tmp_path: Path) -> None:
    settings = replace(PATIENT, policy=Policy(tls=Tls(mode=Mode.REQUIRED)))
    async with (
        SmtpPeer() as peer,
        proxied(tmp_path, Office(peer.address, settings=settings)) as client,
    ):
        assert (await client.rcpt()).startswith("250")
        event = await client.running.until(RecipientUnchecked)
        assert peer.lines("MAIL") == []
    assert "STARTTLS" in str(event)


async def test_question_is_asked_after_the_login_of_a_delivery(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    offers, passwords = ("AUTH PLAIN",), {"alice": "open sesame"}
    async with SecurePeer(authority.context(), offers=offers, passwords=passwords) as peer:
        office = Office(peer.address, settings=with_account(authority, "open sesame"))
        async with proxied(tmp_path, office) as client:
            assert (await client.rcpt()).startswith("250")
            assert peer.signed_in == [("alice", "PLAIN")]
            assert b"MAIL" not in peer.clear
            assert peer.lines[-2:] == ["MAIL FROM:<s@x.test>", "RCPT TO:<r@y.test>"]


async def test_questions_try_a_refused_password_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with SecurePeer(authority.context(), offers=("AUTH PLAIN",)) as peer:
        office = Office(peer.address, settings=with_account(authority, "wrong"))
        async with proxied(tmp_path, office) as client:
            for recipient in ("a@y.test", "b@y.test", "c@y.test"):
                assert (await client.rcpt(recipient)).startswith("250")
        assert len([line for line in peer.lines if line.startswith("AUTH")]) == 1
        assert len(office.events(SignInRefused)) == 1


def with_account(authority: Authority, password: str) -> SessionSettings:
    secret = Secret(password)
    account = of_secrets(ClientAccount(selector="", form=Form.PLAIN, id="alice", secret=secret))
    policy = Policy(tls=Tls(authorities=authority.path))

    def the_one(_selector: str, _server: NextServer) -> Account:
        return account

    return replace(PATIENT, policy=policy, accounts=the_one)


async def test_address_verifier_and_aliases_come_first(tmp_path: Path) -> None:
    script = """#!/bin/sh
case "$1" in
local@*) exit 0 ;;
bad@*) echo not here; exit 2 ;;
old@*) echo; echo new@y.test; exit 1 ;;
esac
exit 1
"""
    verifier = tmp_path / "verifier"
    verifier.write_text(script)
    verifier.chmod(0o755)
    more = {"address_verifier": str(verifier), "aliases": {"root": ["admin@z.test"]}}
    async with (
        SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer,
        proxied(tmp_path, Office(peer.address), **more) as client,
    ):
        assert (await client.rcpt("local@y.test")).startswith("250")
        assert await client.rcpt("bad@y.test") == "550 5.1.1 not here"
        assert (await client.rcpt("root")).startswith("250")
        assert (await client.peer.ask("VRFY <x@y.test>")).startswith("252")
        assert peer.connections == 0
        assert await client.rcpt("old@y.test") == "550 5.1.1 no"
        assert peer.lines("RCPT") == ["RCPT TO:<new@y.test>"]


async def test_one_session_asks_a_bounded_number_of_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_check, "_MOST_QUESTIONS", 2)
    async with (
        SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        heard = [await client.rcpt(f"{number}@y.test") for number in range(3)]
    assert [reply[:3] for reply in heard] == ["550", "550", "250"]


async def test_address_that_no_question_can_hold_is_accepted(tmp_path: Path) -> None:
    async with (
        SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer,
        proxied(tmp_path, Office(peer.address)) as client,
    ):
        assert (await client.rcpt("a|b@y.test")).startswith("250")
        assert peer.connections == 0


def problems(kind: type[ReceiverSettings | ForwarderSettings], *flags: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(kind, ["--verify-recipients", *flags], {"EMAILRELAY_CONFIG": ""})
    return error.value.problems


def test_wrong_combinations_are_named() -> None:
    (alone,) = problems(ReceiverSettings)
    assert "verify-recipients" in alone
    assert "needs ack = delivered" in alone
    for store in ("postgresql://u@h/d", "memory:"):
        place = f"--store={store}"
        (receiving,) = problems(ReceiverSettings, "--ack=delivered", place)
        (delivering,) = problems(ForwarderSettings, "--forward-to=h:25", place)
        assert "needs a spool" in receiving
        assert "needs a spool" in delivering
