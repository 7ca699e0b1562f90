"""emailrelay-submit through a receiver: all recipients get the message, or none."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from tests.fakes.smtp_peer import GOOD, Close, Message, Say, Script, SmtpPeer
from tests.service.receiving import receiving
from tests.service.submitting import submit

from emailrelay.config import ReceiverSettings


async def through(
    port: int, *arguments: str, spool: Path, text: str = "Subject: hi\n\nline\n"
) -> subprocess.CompletedProcess[str]:
    words = ("--port", str(port), "-f", "ann@x.test", *arguments)
    nowhere = {"EMAILRELAY_SPOOL_DIR": str(spool / "none")}
    return await asyncio.to_thread(submit, *words, text=text, environment=nowhere)


def many(count: int) -> list[str]:
    return [f"user{number}@x.test" for number in range(count)]


def to(*messages: Message) -> list[str]:
    return [address.decode() for message in messages for address in message.recipients]


@pytest.mark.parametrize(
    ("reply", "status"), [("550 5.1.1 nobody", 69), ("451 4.3.0 later", 75), ("421 4.3.2 bye", 75)]
)
async def test_refused_recipient_keeps_the_message_from_all(
    tmp_path: Path, reply: str, status: int
) -> None:
    async with SmtpPeer(recipients={b"no@x.test": reply}) as peer:
        for order in (["bob@x.test", "no@x.test"], ["no@x.test", "bob@x.test"]):
            done = await through(peer.port, *order, spool=tmp_path)
            assert done.returncode == status
            assert reply in done.stderr
        assert peer.contents == 0
        assert peer.messages == []


async def test_all_refused_recipients_are_named_and_one_for_good_is_for_good(
    tmp_path: Path,
) -> None:
    replies = {b"no@x.test": "550 5.1.1 nobody", b"full@x.test": "452 4.2.2 mailbox full"}
    async with SmtpPeer(recipients=replies) as peer:
        done = await through(peer.port, "bob@x.test", "full@x.test", "no@x.test", spool=tmp_path)
        assert done.returncode == 69
        assert "full@x.test: 452 4.2.2 mailbox full; no@x.test: 550 5.1.1 nobody" in done.stderr
        assert "no recipient gets the message" in done.stderr
        assert peer.messages == []


async def test_receiver_with_a_limit_of_recipients_gets_several_transactions(
    tmp_path: Path,
) -> None:
    settings = ReceiverSettings(domain="relay.test", recipients=100)
    async with receiving(settings) as receiver:
        done = await through(receiver.port, *many(250), spool=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        mail = receiver.mail()
    assert sorted(len(envelope.recipients) for _, envelope, _ in mail) == [50, 100, 100]
    reached = [address for _, envelope, _ in mail for address in envelope.recipients]
    assert sorted(reached) == sorted(many(250))


@pytest.mark.parametrize("full", ["452 too many", "452 4.5.3 no more", "552 5.5.3 limit reached"])
async def test_every_reply_that_means_a_full_transaction_is_known(
    tmp_path: Path, full: str
) -> None:
    script: Script = {"RCPT": ["250 ok", "250 ok", full]}
    async with SmtpPeer(script) as peer:
        done = await through(peer.port, *many(3), spool=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(to(*peer.messages)) == many(3)
        assert len(peer.messages) == 2


async def test_recipient_refused_in_a_later_transaction_keeps_the_message_from_all(
    tmp_path: Path,
) -> None:
    script: Script = {"RCPT": ["250 ok", "250 ok", "452 4.5.3 full", "250 ok", "550 5.1.1 nobody"]}
    async with SmtpPeer(script) as peer:
        done = await through(peer.port, *many(4), spool=tmp_path)
        assert done.returncode == 69
        assert "user3@x.test: 550" in done.stderr
        assert peer.messages == []


@pytest.mark.parametrize("trouble", ["451 4.3.0 disk full", "552 5.3.4 too big", Close()])
async def test_failure_after_a_finished_transaction_names_recipients_that_have_the_message(
    tmp_path: Path, trouble: str | Close
) -> None:
    script: Script = {
        "RCPT": ["250 ok", "250 ok", "452 4.5.3 full", "250 ok"],
        "DOT": ["250 taken", trouble],
    }
    async with SmtpPeer(script) as peer:
        done = await through(peer.port, *many(3), spool=tmp_path)
        assert to(*peer.messages) == ["user2@x.test"]
    assert done.returncode == 69, "a status after which no program tries again"
    told = done.stderr.splitlines()
    assert told[:3] == [
        "emailrelay-submit: taken: user2@x.test",
        "emailrelay-submit: not taken: user0@x.test",
        "emailrelay-submit: not taken: user1@x.test",
    ]
    assert "1 recipient gets the message, 2 do not" in told[3]


@pytest.mark.parametrize(
    "end", ["421 4.3.2 shutting down", Close(), Say(b"garbage\r\n", then_close=True)]
)
async def test_trouble_after_the_message_was_taken_is_no_failure(
    tmp_path: Path, end: str | Close | Say
) -> None:
    async with SmtpPeer({"QUIT": end}) as peer:
        done = await through(peer.port, "bob@x.test", spool=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(peer.messages) == 1


async def test_receiver_that_takes_fewer_recipients_than_before_loses_none(tmp_path: Path) -> None:
    full = "452 4.5.3 full"
    script: Script = {"RCPT": ["250 ok", "250 ok", full, "250 ok", "250 ok", full]}
    async with SmtpPeer(script) as peer:
        done = await through(peer.port, *many(3), spool=tmp_path)
        assert to(*peer.messages) == ["user2@x.test"]
    assert done.returncode == 69
    assert "not taken: user0@x.test\nemailrelay-submit: not taken: user1@x.test\n" in done.stderr


async def test_reply_of_several_lines_is_told_on_one(tmp_path: Path) -> None:
    reply = "550-5.1.1 nobody\r\n550 5.1.1 of that name"
    async with SmtpPeer(recipients={b"no@x.test": reply}) as peer:
        done = await through(peer.port, "no@x.test", spool=tmp_path)
        assert "no@x.test: 550 5.1.1 nobody 5.1.1 of that name" in done.stderr
        assert peer.commands[-1].endswith("QUIT")


async def test_receiver_that_cannot_take_mail_now_is_not_told_to_be_missing(tmp_path: Path) -> None:
    async with SmtpPeer({"MAIL": "452 4.3.1 no room"}) as peer:
        done = await through(peer.port, "bob@x.test", spool=tmp_path)
    assert done.returncode == 75
    assert done.stderr == (
        "emailrelay-submit: not accepted now: 452 4.3.1 no room; try again later\n"
    )


async def test_missing_answer_to_the_content_is_told_as_what_it_is(tmp_path: Path) -> None:
    async with SmtpPeer({"DOT": Close()}) as peer:
        done = await through(peer.port, "bob@x.test", spool=tmp_path)
        assert done.returncode == 75
        assert "may have been accepted" in done.stderr


async def test_address_beyond_ascii_goes_to_a_receiver_that_takes_such(tmp_path: Path) -> None:
    async with receiving() as receiver:
        done = await through(receiver.port, "zoë@exämple.test", spool=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        ((_, envelope, _),) = receiver.mail()
    assert envelope.recipients == ("zoë@exämple.test",)
    assert envelope.utf8


async def test_address_beyond_ascii_is_refused_by_a_receiver_that_takes_none(
    tmp_path: Path,
) -> None:
    async with SmtpPeer({"EHLO": "250-peer.test\r\n250 8BITMIME"}) as peer:
        done = await through(peer.port, "bob@x.test", "zoë@x.test", spool=tmp_path)
        assert done.returncode == 69
        assert "zoë@x.test: the receiver accepts only ASCII addresses" in done.stderr
        assert peer.messages == []


async def test_receiver_without_extensions_is_asked_for_none(tmp_path: Path) -> None:
    script: Script = {"EHLO": "502 5.5.1 what?", "HELO": GOOD["HELO"]}
    async with SmtpPeer(script) as peer:
        done = await through(peer.port, "bob@x.test", spool=tmp_path, text="Subject: x\n\nñ\n.\n")
        assert (done.returncode, done.stderr) == (0, "")
        (message,) = peer.messages
        assert message.content.endswith("\r\n\r\nñ\r\n".encode())
        assert "BODY" not in " ".join(peer.commands)
