"""The verdicts of filters and their consequences for a message."""

from pathlib import Path

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import ScriptedMilter, packet
from tests.service.filterd.filter_bench import CONTENT, DEADLINE, ENVELOPE, Bench

from emailrelay import envelope_format
from emailrelay.ack import Ack
from emailrelay.bounces.failures import failures
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events.delivery import Failed, RecipientsRefused
from emailrelay.events.event import Event
from emailrelay.events.filters import Abandoned, FilterHeld, FilterTrouble, Passed
from emailrelay.history_query import HistoryQuery
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.claim import Claim, WorkCopy
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.spool.feed import hints


async def test_accepted_message_becomes_ready_as_it_was(bench: Bench) -> None:
    message = await bench.put()
    async with bench.filterd(bench.script("exit 0")):
        await bench.after(Passed)
    assert await bench.stage(message) is Stage.READY
    assert await bench.content(message, Stage.READY) == CONTENT


async def test_codes_alone_need_no_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_claim: Claim, _suffix: str) -> WorkCopy:
        raise StoreError("copy", "no room")

    for kind in Claim.__subclasses__():
        monkeypatch.setattr(kind, "work_copy", full)
    message = await bench.put()
    async with bench.filterd("exit:0", "exit:103"):
        await bench.after(Passed)
    assert await bench.content(message, Stage.READY) == CONTENT
    second = await bench.put()
    async with bench.filterd("exit:0", bench.script("exit 0")):
        (trouble,) = await bench.after(FilterTrouble)
    assert isinstance(trouble, FilterTrouble)
    assert trouble.filter == "work copy"
    assert await bench.stage(second) is Stage.UNFILTERED


@pytest.mark.parametrize("copied", [False, True])
async def test_empty_content_is_refused_with_and_without_a_copy(
    bench: Bench, *, copied: bool
) -> None:
    message = await bench.put(b"")
    async with bench.filterd(bench.script("exit 0") if copied else "exit:0"):
        (failed,) = await bench.after(Failed)
    assert isinstance(failed, Failed)
    assert "after the filter: content: empty" in failed.reason
    assert await bench.stage(message) is Stage.FAILED


async def test_filters_changes_become_the_message(bench: Bench) -> None:
    message = await bench.put()
    edit = """
        printf 'X-Filter: yes\\r\\n' > "$1.x"; cat "$1" >> "$1.x"; mv "$1.x" "$1"
        sed -i 's/b@y.test/c@z.test/' "$2"
    """
    async with bench.filterd(bench.script(edit)):
        await bench.after(Passed)
    assert await bench.content(message, Stage.READY) == b"X-Filter: yes\r\n" + CONTENT
    found = await bench.store.describe(message)
    assert found is not None
    assert found[1].recipients == ("c@z.test",)


async def test_program_sees_an_envelope_that_ends_in_new(bench: Bench) -> None:
    await bench.put()
    seen = bench.folder / "seen"
    async with bench.filterd(bench.script(f'echo "$1" "$2" > {seen}')):
        await bench.after(Passed)
    content, envelope = seen.read_text().split()
    assert content.endswith(".content")
    assert envelope == content.removesuffix("content") + "envelope.new"


async def test_abandoned_message_is_gone(bench: Bench) -> None:
    message = await bench.put()
    async with bench.filterd("exit:100"):
        await bench.after(Abandoned)
    assert await bench.stage(message) is None


@pytest.mark.parametrize("local", [True, False])
async def test_mail_in_mailboxes_is_delivered_and_not_dropped(bench: Bench, local: bool) -> None:  # noqa: FBT001 - a row of the table
    await bench.store.history().keep(HistoryBounds(2, 1_000_000))
    message = await bench.put(envelope=Envelope(sender=Address(""), to_local=(Address("ann"),)))
    boxes = bench.folder / "boxes"
    async with bench.filterd(f"deliver:{boxes}" if local else "exit:100"):
        (told,) = await bench.after(Abandoned)
    (past,) = [each async for each in bench.store.history().find(HistoryQuery(id=message))]
    assert isinstance(told, Abandoned)
    assert (told.end, past.end) == (("delivered", "delivered") if local else ("dropped",) * 2)
    assert len(list(boxes.glob("ann/new/*"))) == local


async def test_quarantined_message_is_held_with_the_reason(bench: Bench) -> None:
    message = await bench.put()
    at_end = (packet(b"q", b"odd\0"), packet(b"h", b"X-A\0v\0"), packet(b"c"))
    async with serving(ScriptedMilter(at_end=at_end)) as place, bench.filterd(f"milter:{place}"):
        (told,) = await bench.after(FilterHeld)
    assert isinstance(told, FilterHeld)
    assert told.reason == f"milter:{place}: odd"
    assert await bench.stage(message) is Stage.HELD
    assert await bench.store.retry(message)
    assert await bench.stage(message) is Stage.READY


def refusing(name: bytes, *at_end: bytes) -> ScriptedMilter:
    """Give a milter that refuses recipients whose address begins so."""

    def answer(kind: bytes, data: bytes) -> bytes:
        return packet(b"y", b"550 5.1.1 who\0") if kind == b"R" and data.startswith(name) else b""

    return ScriptedMilter(answer=answer, at_end=at_end or (packet(b"c"),))


TWO = ENVELOPE._replace(to_remote=(Address("b@y.test"), Address("c@y.test")))
WHO = {"b@y.test": Reply(550, "5.1.1 who")}


async def test_recipient_refused_by_a_filter_does_not_stop_the_others(bench: Bench) -> None:
    message = await bench.put(envelope=TWO)
    async with serving(refusing(b"<b@")) as place, bench.filterd(f"milter:{place}"):
        await bench.after(Passed)
    (told,) = await bench.after(RecipientsRefused)
    assert isinstance(told, RecipientsRefused)
    assert (told.peer, told.to) == (f"milter:{place}", ("b@y.test",))
    found = await bench.store.describe(message)
    assert found is not None
    stage, envelope, history = found
    assert (stage, history.attempts) == (Stage.READY, 0)
    assert (history.refused, history.pending(envelope)) == (WHO, ("c@y.test",))


async def test_sender_is_told_of_a_refused_recipient_of_a_dropped_message(bench: Bench) -> None:
    message = await bench.put(envelope=TWO)
    dropping = refusing(b"<b@", packet(b"d"))
    async with serving(dropping) as place, bench.filterd(f"milter:{place}"):
        await bench.after(Failed)
    found = await bench.store.describe(message)
    assert found is not None
    stage, envelope, history = found
    assert (stage, history.refused) == (Stage.FAILED, WHO)
    (told,) = failures(envelope, history)
    assert (told.recipient, told.reply, told.peer) == ("b@y.test", WHO["b@y.test"], "")


async def test_client_that_waits_is_told_250_if_some_recipients_get_the_mail(bench: Bench) -> None:
    async with (
        serving(refusing(b"<b@")) as place,
        bench.filterd(f"milter:{place}"),
        bench.store.draft(TWO) as draft,
    ):
        draft.write(CONTENT)
        await draft.commit(Stage.UNFILTERED, Ack.FILTERED)
        assert await draft.answer(DEADLINE) == Reply(250, "2.0.0 OK")
    assert await bench.stage(draft.id) is Stage.READY


@pytest.mark.parametrize("code", [102, 103, 104])
async def test_filter_that_put_mail_into_the_spool_has_it_found_at_once(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "_LOOK", 1000.0)
    spool, outside, events = tmp_path / "spool", tmp_path / "outside", list[Event]()
    outside.mkdir()
    name = "emailrelay.1700000000.1.1"
    (outside / f"{name}.content").write_bytes(CONTENT)
    (outside / f"{name}.envelope.filter").write_bytes(envelope_format.write(ENVELOPE))
    async with open_store(spool, report=events.append) as store:
        bench = Bench(store, tmp_path, events)
        move = bench.script(f"mv {outside}/{name}.* {spool} 2>/dev/null && exit {code}; exit 0")
        async with bench.filterd(move):
            await bench.put()
            await bench.moved_to(QueueId("1700000000.1.1"), Stage.READY)
