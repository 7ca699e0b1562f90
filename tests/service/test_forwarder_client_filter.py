"""Client filters: real scripts that see each message before it is sent, and a real peer."""

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarding import CONTENT, Office
from tests.service.test_forwarder_awaited import ask

from emailrelay.events.delivery import Deferred, Failed
from emailrelay.events.filters import FilterRejected, FilterTrouble
from emailrelay.events.service import InternalError
from emailrelay.filters import servers
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import Side
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.stage import Stage
from emailrelay_forwarder.delivery.client_filter import ClientFilters
from emailrelay_forwarder.single_pass import SinglePass

Filtering = Callable[[str | None], ClientFilters]
HANGS = "exec sleep 1000"
FOOTER = 'printf "footer\\r\\n" >> "$1"\n'


@pytest.fixture
async def filtering(tmp_path: Path) -> AsyncIterator[Filtering]:
    """Make client filters of a shell script; None: of a missing program."""
    async with Programs() as programs:

        def made(body: str | None) -> ClientFilters:
            if body == HANGS:
                programs.limits = ProgramLimits(timeout=0.5)
            script = tmp_path / "filter"
            if body is not None:
                script.write_text(f"#!/bin/sh\n{textwrap.dedent(body)}")
                script.chmod(0o755)
            chain = Chain(filters=parse_chain([str(script)]), side=Side.CLIENT, programs=programs)
            return ClientFilters(chain, asyncio.Semaphore(4))

        yield made


async def test_message_waits_after_a_bug_in_a_client_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("surprise")

    monkeypatch.setattr(servers, "run", broken)
    async with SmtpPeer() as peer, Programs() as programs:
        chain = Chain(filters=parse_chain(["msgid:"]), side=Side.CLIENT, programs=programs)
        office = Office(peer.address, filters=ClientFilters(chain, asyncio.Semaphore(4)))
        assert isinstance(await office.forward(await office.put()), Defer)
        (bug,) = office.events(InternalError)
        await office.forwarding.close()
    assert "surprise" in bug.reason
    assert not peer.messages


def rewriting(of: str, to: str) -> str:
    return f'sed -i "s/{of}/{to}/" "$2"\n'


async def test_what_the_filter_made_is_sent_and_nothing_of_it_is_kept(
    filtering: Filtering,
) -> None:
    async with SmtpPeer({"RCPT": ["451 4.2.0 later"]}) as peer:
        office = Office(peer.address, filters=filtering(FOOTER))
        message = await office.put()
        assert isinstance(await office.forward(message), Defer)
        assert isinstance(await office.forward(message), Done)
        [sent] = peer.messages
        assert sent.content == CONTENT + b"footer\r\n"
        assert b"SIZE=%d" % len(sent.content) in sent.parameters
        await office.forwarding.close()


async def test_filter_is_given_the_paths_it_expects(filtering: Filtering) -> None:
    async with SmtpPeer() as peer:
        script = 'case "$2" in *.envelope.busy) ;; *) exit 1 ;; esac\ntest -f "$1"\n'
        office = Office(peer.address, filters=filtering(script))
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()


async def test_edited_addresses_are_those_of_this_attempt(filtering: Filtering) -> None:
    async with SmtpPeer() as peer:
        edits = rewriting("From: from@us.test", "From: other@us.test")
        edits += rewriting("Remote: a@t", "Remote: x@t")
        office = Office(peer.address, filters=filtering(edits))
        assert isinstance(await office.send("a@t", "b@t"), Done)
        [sent] = peer.messages
        assert (sent.sender, sent.recipients) == (b"other@us.test", [b"x@t", b"b@t"])
        await office.forwarding.close()


async def test_substitute_that_has_the_message_gets_no_second_copy(filtering: Filtering) -> None:
    async with SmtpPeer({"RCPT": ["250 ok", "451 4.2.0 later"]}) as peer:
        edits = rewriting("Remote: a@t", "Remote: x@t") + rewriting("Remote: b@t", "Remote: y@t")
        office = Office(peer.address, filters=filtering(edits))
        message = await office.put("a@t", "b@t")
        assert isinstance(await office.forward(message), Defer)
        history = await office.history(message)
        assert history is not None
        assert set(history.delivered) == {"a@t", "x@t"}
        assert isinstance(await office.forward(message), Done)
        assert [m.recipients for m in peer.messages] == [[b"x@t"], [b"y@t"]]
        await office.forwarding.close()


async def test_recipient_that_a_filter_adds_is_tried_again_like_the_others(
    filtering: Filtering,
) -> None:
    async with SmtpPeer({"RCPT": ["250 ok", "451 4.2.0 later"]}) as peer:
        add = "Remote: a@t\\r\\nX-MailRelay-To-Remote: archive@t"
        edits = rewriting("Remote: a@t", add) + rewriting("ToCount: 1", "ToCount: 2")
        office = Office(peer.address, filters=filtering(edits))
        message = await office.put("a@t")
        assert isinstance(await office.forward(message), Defer)
        assert isinstance(await office.forward(message), Done)
        assert [m.recipients for m in peer.messages] == [[b"a@t"], [b"archive@t"]]
        await office.forwarding.close()


async def test_filter_may_send_a_message_elsewhere(filtering: Filtering) -> None:
    async with SmtpPeer() as usual, SmtpPeer() as other:
        edit = rewriting("ForwardToAddress:.*", f"ForwardToAddress: {other.address}")
        office = Office(usual.address, filters=filtering(edit))
        assert isinstance(await office.send(), Done)
        assert (len(usual.messages), len(other.messages)) == (0, 1)
        await office.forwarding.close()


@pytest.mark.parametrize("code", [1, 99, 105, 255])
async def test_rejected_mail_fails_with_550_in_the_filters_words(
    filtering: Filtering, code: int
) -> None:
    async with SmtpPeer() as peer:
        script = f'echo "<<451 not this one>>"; echo "<<bad word>>"; exit {code}'
        office = Office(peer.address, filters=filtering(script))
        message = await office.put()
        settlement = await office.forward(message)
        assert isinstance(settlement, Fail)
        assert settlement.reason == Reply(550, "not this one")
        found = await office.store.describe(message)
        assert found is not None
        assert found[0] is Stage.FAILED
        assert peer.connections == 0
    assert "bad word" in office.events(Failed)[0].reason


async def test_skipped_mail_stays_queued_even_if_it_is_old(filtering: Filtering) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address, filters=filtering("exit 100"))
        message = await office.put()
        office.now += 10 * office.schedule.max_age
        settlement = await office.forward(message)
        assert isinstance(settlement, Defer)
        assert settlement.attempt.next_attempt is not None
        assert settlement.attempt.next_attempt > office.now
        assert peer.connections == 0
    assert len(office.events(Deferred)) == 1


@pytest.mark.parametrize("script", [HANGS, "kill -9 $$", None])
async def test_mail_waits_when_the_filter_cannot_do_its_work(
    filtering: Filtering, script: str | None
) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address, filters=filtering(script))
        assert isinstance(await office.send(), Defer)
        assert peer.connections == 0
    assert len(office.events(FilterTrouble)) == 1


@pytest.mark.parametrize("damage", ['rm "$1"', ': > "$1"', 'echo nonsense > "$2"'])
async def test_nothing_damaged_by_a_filter_is_sent(filtering: Filtering, damage: str) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address, filters=filtering(damage))
        assert isinstance(await office.send(), Fail)
        assert peer.connections == 0


async def test_filter_does_not_run_while_the_server_is_left_alone(
    filtering: Filtering, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    async with SmtpPeer({"greeting": "554 go away"}) as peer:
        office = Office(peer.address, filters=filtering(f"echo run >> {runs}"))
        for _ in range(3):
            assert isinstance(await office.send(), Defer)
        await office.forwarding.close()
    assert runs.read_text() == "run\n"


async def test_clients_who_wait_hear_the_filters_rejection(filtering: Filtering) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address, filters=filtering('echo "<<no thanks>>"; exit 1'))
        assert await ask(office, "a@t") == Reply(550, "no thanks")
    assert len(office.events(FilterRejected)) == 1
    assert office.events(Failed) == []


async def test_clients_who_wait_are_told_to_come_again_when_the_filter_skips(
    filtering: Filtering,
) -> None:
    async with SmtpPeer() as peer:
        answer = await ask(Office(peer.address, filters=filtering("exit 100")), "a@t")
    assert answer is not None
    assert 400 <= answer.code <= 499


async def test_new_mail_that_a_filter_puts_beside_its_copy_is_taken_in(
    filtering: Filtering,
) -> None:
    async with SmtpPeer() as peer:
        script = """
            case "$1" in */emailrelay.1.2.3.content) exit 0 ;; esac
            grep -q again "$1" && exit 0
            directory=$(dirname "$1")
            printf 'Subject: again\\r\\n\\r\\n' > "$directory/emailrelay.1.2.3.content"
            cp "$2" "$directory/emailrelay.1.2.3.envelope"
            exit 103
        """
        office = Office(peer.address, filters=filtering(script))
        assert isinstance(await office.send(), Done)
        [left] = [entry async for entry in office.store.listing()]
        assert isinstance(await office.forward(left.id), Done)
        assert peer.messages[1].content.startswith(b"Subject: again")
        await office.forwarding.close()


@pytest.mark.parametrize(
    ("code", "sent", "left"), [(0, 3, 0), (102, 1, 2), (104, 0, 3), (105, 0, 2), (103, 3, 0)]
)
async def test_filter_may_end_a_single_pass(
    filtering: Filtering, code: int, sent: int, left: int
) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address, filters=filtering(f"exit {code}"))
        for _ in range(3):
            await office.put()
        single_pass = SinglePass(
            store=office.store,
            forwarding=office.forwarding,
            report=office.told.append,
            most=20,
            grace=3.0,
        )
        assert await single_pass.run(asyncio.Event()) is (left == 0)
        ready = [entry async for entry in office.store.listing((Stage.READY,))]
        assert (len(peer.messages), len(ready)) == (sent, left)
        await office.forwarding.close()
