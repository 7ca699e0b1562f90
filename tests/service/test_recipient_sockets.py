"""The sockets between receiver and forwarder: who can use them, and which questions they carry."""

import asyncio
import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.acceptance.relay import until
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarding import Office
from tests.service.receiving import HANG, receiving
from tests.service.verifying import answering, client_of, proxy_settings

from emailrelay import silence
from emailrelay.envelope import Address
from emailrelay.events.receiving import RecipientChecked, RecipientUnchecked
from emailrelay.metrics.declared import COUNTERS
from emailrelay.reply import LONGEST_TEXT, Reply, one_line
from emailrelay.routes import Route
from emailrelay.silence import Silence
from emailrelay.store.chooser import recipient_sockets
from emailrelay.store.spool.disk import directory
from emailrelay_forwarder import recipient_answers
from emailrelay_forwarder.delivery import recipient_cache
from emailrelay_forwarder.delivery.recipient_cache import RecipientCache, RecipientKey
from emailrelay_forwarder.delivery.recipient_question import RecipientAnswer, RecipientQuestion
from emailrelay_receiver.clients import forwarder_questions
from emailrelay_receiver.dialogue.verifier_answer import Unknown, from_line, question

WORDS = st.text().map(lambda text: one_line(text.replace("|", "?")))
"""The texts that a receiver asks about."""


async def test_without_a_forwarder_recipients_are_accepted_at_once(tmp_path: Path) -> None:
    async with (
        receiving(proxy_settings(tmp_path)) as running,
        client_of(running) as client,
    ):
        assert (await client.rcpt()).startswith("250")
        event = await running.until(RecipientUnchecked)
        assert "no forwarder with verify_recipients runs here" in str(event)
        async with SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer:
            async with answering(tmp_path, Office(peer.address)):
                assert await client.rcpt() == "550 5.1.1 no"
            # The forwarder has ended, and another begins.
            assert (await client.rcpt()).startswith("250")
            async with answering(tmp_path, Office(peer.address)):
                assert await client.rcpt() == "550 5.1.1 no"


async def test_forwarder_that_hangs_delays_one_client_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder_questions, "_WITHIN", 0.2)
    with recipient_sockets(tmp_path).listening():
        async with receiving(proxy_settings(tmp_path)) as running, client_of(running) as client:
            assert (await client.rcpt()).startswith("250")
            assert (await client.rcpt()).startswith("250")
            await running.until(RecipientUnchecked, 2)
            reasons = [e.reason for e in running.events if isinstance(e, RecipientUnchecked)]
    assert reasons == [
        "no forwarder answers within 0.2 s",
        "no forwarder answered a short time ago",
    ]


def test_after_a_pause_one_question_ends_the_silence() -> None:
    asked = Silence()
    assert not asked.forbids(0.0)
    asked.begin(0.0)
    assert asked.forbids(silence.PAUSE - 1)
    assert [asked.forbids(silence.PAUSE) for _ in range(3)] == [False, True, True]
    asked.end()
    assert not asked.forbids(silence.PAUSE)


async def test_socket_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / ".recipients"
    async with (
        SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer,
        answering(tmp_path, Office(peer.address)),
    ):
        (live,) = folder.iterdir()
        assert all(stat.S_IMODE(at.stat().st_mode) & 0o007 == 0 for at in (live, folder))
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / "1.dead"))
        sockets = recipient_sockets(tmp_path)
        for _ in range(20):  # they are tried in any order
            sockets.connected().close()
        assert list(folder.iterdir()) == [live]
    assert list(folder.iterdir()) == []


def test_forwarder_is_found_among_many_files_of_others(tmp_path: Path) -> None:
    sockets = recipient_sockets(tmp_path)
    with sockets.listening():
        for number in range(2000):
            (tmp_path / ".recipients" / f"x{number}").touch()
        sockets.connected().close()


async def test_socket_that_is_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipient_answers, "_LOOK", 0.05)
    monkeypatch.setattr(directory, "_LOOK", 0.0)
    async with (
        SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer,
        answering(tmp_path, Office(peer.address)),
    ):
        shutil.rmtree(tmp_path / ".recipients")
        await asyncio.to_thread(until, recipients_of(tmp_path), "another is there")
        recipient_sockets(tmp_path).connected().close()


def recipients_of(spool: Path) -> Callable[[], list[Path]]:
    return lambda: [at for at in (spool / ".recipients").glob("*") if at.suffix != ".new"]


async def test_link_or_strange_socket_is_no_forwarder(tmp_path: Path) -> None:
    folder = tmp_path / ".recipients"
    folder.mkdir(mode=0o770)
    sockets = recipient_sockets(tmp_path)
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(tmp_path / "foreign"))
        foreign.listen()
        (folder / "1.link").symlink_to(tmp_path / "foreign")
        with pytest.raises(OSError, match="is not a socket"):
            sockets.connected()
        (folder / "1.link").unlink()
        (tmp_path / "foreign").rename(folder / "2.foreign")
        sockets.connected().close()
        if os.geteuid() == 0:
            # A socket with another owner than its listener, then a stranger's in a sticky spool.
            os.chown(folder / "2.foreign", 65534, 65534)
            with pytest.raises(PermissionError, match="listens at the socket"):
                sockets.connected()
            folder.chmod(0o1770)
            with pytest.raises(PermissionError, match="belongs to user 65534"):
                sockets.connected()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"a|b|c",
        b"r@y|s@x|c|d|none|||utf8|",
        b"\xff|||||||",
        b"r@y\r|s@x|c|d|none|||",
        b"x" * 9000,
    ],
)
async def test_line_that_is_no_question_ends_the_connection(tmp_path: Path, line: bytes) -> None:
    async with SmtpPeer() as peer, answering(tmp_path, Office(peer.address)):
        sock = recipient_sockets(tmp_path).connected()
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        writer.write(line + b"\n")
        async with asyncio.timeout(HANG):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        assert peer.connections == 0


@given(
    recipient=WORDS,
    sender=WORDS,
    user=WORDS,
    utf8=st.sampled_from(["", "utf8"]),
)
def test_forwarder_reads_what_the_receiver_asks(
    recipient: str, sender: str, user: str, utf8: str
) -> None:
    fields = (recipient, sender, "192.0.2.1:25", "relay.test", "PLAIN", user, "s1", utf8)
    asked = RecipientQuestion.read(question(fields)[:-1])
    assert asked == (recipient, sender, user, "s1", utf8 == "utf8")


@given(code=st.integers(400, 599), text=st.text())
def test_receiver_reads_what_the_forwarder_answers(code: int, text: str) -> None:
    said = Reply.of(code, f"{code // 100}.7.1 {text}")
    answer = from_line(RecipientAnswer(said).line()[:-1])
    assert isinstance(answer, Unknown)
    assert answer.reply.code == code
    assert answer.reply.text == Reply.of(code, said.text.replace("|", "?")).text[:LONGEST_TEXT]


def test_cache_is_bounded_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipient_cache, "MOST", 2)
    cache, route = RecipientCache(), Route(name="r", smarthosts=("h:25",))
    keys = [RecipientKey(route, Address("s@x"), Address(f"{n}@y"), utf8=False) for n in range(3)]
    yes, no, later = Reply(250, "ok"), Reply(550, "no"), Reply(450, "later")
    for key in keys:
        cache.keep(key, no, now=100.0)
    assert [cache.get(key, 130.0) for key in keys] == [None, no, no]
    assert cache.get(keys[2], 160.0) is None
    cache.keep(keys[2], yes, now=160.0)
    assert cache.get(keys[2], 161.0) == yes
    cache.keep(keys[2], later, now=162.0)
    assert cache.get(keys[2], 163.0) is None


def test_recipients_are_counted_by_the_answer_of_the_next_server() -> None:
    counted = {each.event: each for each in COUNTERS if each.name == "emailrelay_recipient_checks"}
    refused = RecipientChecked(result="refused", reply="550 5.1.1 no")
    assert list(counted[RecipientChecked].increments(refused)) == [(("refused",), 1.0)]
    unknown = RecipientUnchecked(reason="no answer")
    assert list(counted[RecipientUnchecked].increments(unknown)) == [(("unknown",), 1.0)]
