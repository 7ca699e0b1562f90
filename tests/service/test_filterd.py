"""filterd's worker over a store, with small scripts as filters."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import ScriptedMilter, packet

from emailrelay import envelope_format
from emailrelay.ack import Ack
from emailrelay.bounces.failures import failures
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events import (
    Abandoned,
    Deferred,
    Event,
    Failed,
    FilterHeld,
    FilterRejected,
    FilterTrouble,
    NoFilter,
    Passed,
    RecipientsRefused,
    StoreTrouble,
    TakenIn,
)
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import Side
from emailrelay.log_throttle import LogThrottle
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import Done, Settlement
from emailrelay.stage import Stage
from emailrelay.store.base import Claim, Store, WorkCopy
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.feed import hints
from emailrelay_filterd import missing_filters
from emailrelay_filterd.worker import FilterWorker

ENVELOPE = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
CONTENT = b"Subject: hello\r\n\r\nworld\r\n"
DEADLINE = 15.0


@dataclass
class Bench:
    """A store, scripts, and the reported events."""

    store: Store
    folder: Path
    events: list[Event]
    schedule: Schedule = field(default_factory=lambda: Schedule(spread=0.0))
    timeout: float = DEADLINE
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, event: Event) -> None:
        self.events.append(event)
        self.told.set()

    def script(self, body: str) -> str:
        path = self.folder / f"filter{len(list(self.folder.iterdir()))}"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    async def put(self, content: bytes = CONTENT, envelope: Envelope = ENVELOPE) -> QueueId:
        async with self.store.draft(envelope) as draft:
            draft.write(content)
            await draft.commit(Stage.UNFILTERED)
        return draft.id

    @asynccontextmanager
    async def filterd(self, *specs: str, jobs: int = 4) -> AsyncGenerator[asyncio.Event]:
        """Run a worker, and stop it at the end; gives the event that stops it."""
        stop = asyncio.Event()
        async with (
            Programs(ProgramLimits(timeout=self.timeout, grace=0.2)) as programs,
            self.store.feed(Stage.UNFILTERED) as feed,
        ):
            worker = FilterWorker(
                feed=feed,
                chain=Chain(filters=parse_chain(specs), side=Side.SERVER, programs=programs),
                schedule=self.schedule,
                report=LogThrottle(self.report, time.monotonic, lambda _seconds, _act: None),
                jobs=jobs,
                drain=0.3,
            )
            running = asyncio.create_task(worker.run(stop))
            try:
                yield stop
            finally:
                stop.set()
                async with asyncio.timeout(DEADLINE):
                    await running

    async def after(self, kind: type[Event], count: int = 1) -> list[Event]:
        """Wait until this many events of a kind were reported."""
        async with asyncio.timeout(DEADLINE):
            while len(found := [e for e in self.events if isinstance(e, kind)]) < count:
                self.told.clear()
                await self.told.wait()
        return found

    async def stage(self, message: QueueId) -> Stage | None:
        found = await self.store.describe(message)
        return found[0] if found else None

    async def content(self, message: QueueId, stage: Stage) -> bytes:
        claim = await self.store.claim(stage, message, due_only=False)
        assert claim is not None
        async with claim:
            return b"".join([chunk async for chunk in claim.content()])

    async def tried(self, message: QueueId) -> None:
        """Wait until the chain has been run on a message and its settlement recorded."""
        async with asyncio.timeout(DEADLINE):
            while not await self._attempts(message):  # noqa: ASYNC110 - trouble is told once only
                await asyncio.sleep(0.01)

    async def _attempts(self, message: QueueId) -> int:
        found = await self.store.describe(message)
        assert found is not None
        return found[2].attempts

    async def moved_to(self, message: QueueId, stage: Stage) -> None:
        """Wait until another process has moved a message."""
        async with asyncio.timeout(DEADLINE):
            while await self.stage(message) is not stage:  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.02)


@pytest.fixture(params=["memory", "spool"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    events: list[Event] = []
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    where = "memory:" if request.param == "memory" else tmp_path / "spool"
    async with open_store(where, report=events.append) as store:
        yield Bench(store, scripts, events)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - what other processes do sets no event of ours
            await asyncio.sleep(0.01)


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


async def test_4yz_is_tried_again_later_with_the_original(bench: Bench) -> None:
    message = await bench.put()
    before = time.time()
    spoil = bench.script(
        'echo spoilt > "$1"; echo "<<451 4.7.1 later>>"; echo "<<greylisted>>"; exit 1'
    )
    async with bench.filterd(spoil):
        (event,) = await bench.after(Deferred)
    assert isinstance(event, Deferred)
    assert event.reason == f"{spoil}: 451 4.7.1 later (greylisted)"
    assert event.next_attempt is not None
    assert event.next_attempt >= before + 60
    found = await bench.store.describe(message)
    assert found is not None
    assert found[0] is Stage.UNFILTERED
    assert found[2].last_attempt is not None
    assert found[2].last_attempt.trouble == Reply(451, "4.7.1 later")
    assert await bench.content(message, Stage.UNFILTERED) == CONTENT


async def test_deferred_message_passes_at_its_next_try(bench: Bench) -> None:
    bench.schedule = Schedule(first=0.2, longest=0.2, spread=0.0)
    message = await bench.put()
    flag = bench.folder / "flag"
    async with bench.filterd(bench.script(f"[ -e {flag} ] || {{ touch {flag}; exit 1; }}")):
        await bench.after(Passed)
    assert await bench.stage(message) is Stage.READY


async def test_message_refused_with_4yz_for_too_long_fails(bench: Bench) -> None:
    bench.schedule = Schedule(max_age=0.0)
    message = await bench.put()
    async with bench.filterd("exit:1"):
        await bench.after(Failed)
    assert await bench.stage(message) is Stage.FAILED


async def test_5yz_fails_the_message_with_its_reason(bench: Bench) -> None:
    message = await bench.put()
    async with bench.filterd(bench.script('echo "<<554 5.7.1 spam>>"; exit 1')):
        await bench.after(Failed)
    found = await bench.store.describe(message)
    assert found is not None
    assert found[0] is Stage.FAILED
    assert found[2].failed is not None
    assert found[2].failed.reason == Reply(554, "5.7.1 spam")


async def test_failed_message_keeps_the_original_content(bench: Bench) -> None:
    message = await bench.put()
    async with bench.filterd(bench.script(': > "$1"')):
        await bench.after(Failed)
    assert await bench.content(message, Stage.FAILED) == CONTENT


async def test_hanging_filter_holds_back_its_message_and_no_other(bench: Bench) -> None:
    bench.timeout = 0.5
    hanging = await bench.put(b"Subject: hang\r\n\r\n")
    others = [await bench.put() for _ in range(5)]
    async with bench.filterd(bench.script('grep -q hang "$1" && sleep 60; exit 0'), jobs=2):
        (event,) = await bench.after(FilterTrouble)
        await bench.after(Passed, len(others))
    assert isinstance(event, FilterTrouble)
    assert (event.id, event.reason) == (hanging, "no verdict within 0.5 s")
    assert await bench.stage(hanging) is Stage.UNFILTERED
    assert {await bench.stage(other) for other in others} == {Stage.READY}


async def test_same_trouble_is_told_once_but_holds_back_all_mail(bench: Bench) -> None:
    messages = [await bench.put() for _ in range(3)]
    async with bench.filterd("/no/such/program", jobs=1):
        for message in messages:
            await bench.tried(message)
    assert len([e for e in bench.events if isinstance(e, FilterTrouble)]) == 1
    assert {await bench.stage(message) for message in messages} == {Stage.UNFILTERED}


async def test_as_many_chains_run_at_once_as_there_are_jobs(bench: Bench) -> None:
    for _ in range(4):
        await bench.put()
    # Each program waits until all four have come: they can only end together.
    meet = f"touch {bench.folder}/came.$$; until [ $(ls {bench.folder}/came.* | wc -l) = 4 ]; do sleep 0.05; done"
    async with bench.filterd(bench.script(meet), jobs=4):
        await bench.after(Passed, 4)


async def test_message_put_beside_the_files_is_taken_in(bench: Bench) -> None:
    await bench.put()
    copy = """
        to=$(dirname "$1")/emailrelay.7.8.9
        { echo second; cat "$1"; } > $to.content; cp "$2" $to.envelope; exit 103
    """
    async with bench.filterd(bench.script(copy)):
        (event,) = await bench.after(TakenIn)
        await bench.after(Passed)
    assert isinstance(event, TakenIn)
    assert await bench.content(event.id, Stage.READY) == b"second\n" + CONTENT


async def test_stop_kills_the_running_filter_and_leaves_the_message(bench: Bench) -> None:
    message = await bench.put()
    pid = bench.folder / "pid"
    script = bench.script(f'echo spoilt > "$1"; echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 60')
    async with bench.filterd(script):
        await eventually(pid.exists)
    assert not alive(int(pid.read_text()))
    assert await bench.content(message, Stage.UNFILTERED) == CONTENT
    assert not bench.events


async def test_stop_lets_a_quick_filter_finish(bench: Bench) -> None:
    message = await bench.put()
    pid = bench.folder / "pid"
    async with bench.filterd(bench.script(f"touch {pid}; sleep 0.05")):
        await eventually(pid.exists)
    assert await bench.stage(message) is Stage.READY


async def test_nothing_is_claimed_after_the_stop(bench: Bench) -> None:
    async with bench.filterd("exit:0") as stop:
        stop.set()
        message = await bench.put()
    assert await bench.stage(message) is Stage.UNFILTERED


async def test_without_a_filter_mail_stays_and_the_log_says_so(bench: Bench) -> None:
    message = await bench.put()
    stop = asyncio.Event()
    watch = asyncio.create_task(
        missing_filters.watch(bench.store, stop, bench.report, lambda: True)
    )
    (event,) = await bench.after(NoFilter)
    stop.set()
    async with asyncio.timeout(DEADLINE):
        await watch
    assert event == NoFilter(waiting=1)
    assert await bench.stage(message) is Stage.UNFILTERED


async def type_of_claims(bench: Bench, message: QueueId) -> type[Claim]:
    """Return the class of the store's claims, whose methods a test can replace."""
    claim = await bench.store.claim(Stage.UNFILTERED, message)
    assert claim is not None
    await claim.release()
    return type(claim)


async def test_store_that_cannot_settle_leaves_the_message_and_the_work_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await bench.put()
    claims = await type_of_claims(bench, message)
    settle = claims.settle

    async def refuse_one(self: Claim, settlement: Settlement, answer: Reply | None = None) -> None:
        if self.id == message:
            raise StoreError("settling", OSError(28, "No space left on device"))
        await settle(self, settlement, answer)

    monkeypatch.setattr(claims, "settle", refuse_one)
    async with bench.filterd("exit:0", jobs=2):
        await bench.after(StoreTrouble)
        other = await bench.put()
        await bench.after(Passed)
    assert await bench.stage(message) is Stage.UNFILTERED
    assert await bench.stage(other) is Stage.READY


async def test_message_that_is_being_settled_takes_no_place_in_the_filters(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await bench.put()
    claims = await type_of_claims(bench, first)
    settle, lasts = claims.settle, asyncio.Event()

    async def settle_first_late(
        self: Claim, settlement: Settlement, answer: Reply | None = None
    ) -> bool:
        if self.id == first:
            await lasts.wait()
        return await settle(self, settlement, answer)

    monkeypatch.setattr(claims, "settle", settle_first_late)
    async with bench.filterd("exit:0", jobs=1):
        await bench.put()
        await bench.after(Passed)
        assert await bench.stage(first) is Stage.UNFILTERED
        lasts.set()
        await bench.after(Passed, 2)


async def ask(bench: Bench, ack: Ack, *specs: str) -> tuple[QueueId, Reply | None]:
    """Commit a message as a waiting client does, and give filterd's answer to the client."""
    async with bench.store.draft(ENVELOPE) as draft:
        draft.write(CONTENT)
        await draft.commit(Stage.UNFILTERED, ack)
        async with bench.filterd(*specs):
            within = 0.3 if ack is Ack.DELIVERED and specs == ("exit:0",) else DEADLINE
            return draft.id, await draft.answer(within)


@pytest.mark.parametrize("ack", [Ack.FILTERED, Ack.DELIVERED])
@pytest.mark.parametrize(
    ("spec", "code"), [("exit:1", 452), ("/no/such/program", 452), ("exit:100", 250)]
)
async def test_verdict_answers_the_client_who_waits_and_leaves_nothing(
    bench: Bench, ack: Ack, spec: str, code: int
) -> None:
    message, reply = await ask(bench, ack, spec)
    assert reply is not None
    assert reply.code == code
    assert await bench.stage(message) is None


async def test_acceptance_answers_the_client_who_waits_for_the_filters(bench: Bench) -> None:
    message, reply = await ask(bench, Ack.FILTERED, "exit:0")
    assert reply is not None
    assert reply.accepted
    assert await bench.stage(message) is Stage.READY


async def test_acceptance_is_no_answer_for_the_client_who_waits_for_the_delivery(
    bench: Bench,
) -> None:
    _, reply = await ask(bench, Ack.DELIVERED, "exit:0")
    assert reply is None
    assert [e for e in bench.events if isinstance(e, Passed)]


async def test_rejection_is_told_with_its_reason_where_a_client_waits(bench: Bench) -> None:
    script = bench.script('echo "<<550 no>>"; echo "<<why>>"; exit 1')
    await ask(bench, Ack.FILTERED, script)
    (event,) = await bench.after(FilterRejected)
    assert isinstance(event, FilterRejected)
    assert (event.filter, event.reply, event.reason) == (script, "550 no", "why")


async def test_killed_filterd_takes_its_filter_along_and_the_next_one_filters_again(
    tmp_path: Path,
) -> None:
    spool, pid = tmp_path / "spool", tmp_path / "pid"
    script = tmp_path / "filter"
    script.write_text(
        f'#!/bin/sh\n[ -e {pid} ] && exit 0\necho spoilt > "$1"\n'
        f"sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 60'; exit 0\n"
    )
    script.chmod(0o755)
    events: list[Event] = []
    async with open_store(spool, report=events.append) as store:
        bench = Bench(store, tmp_path, events)
        message = await bench.put()
        first = await start(spool, script)
        await eventually(pid.exists)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        await eventually(lambda: not alive(int(pid.read_text())))
        second = await start(spool, script)
        await bench.moved_to(message, Stage.READY)
        second.terminate()
        async with asyncio.timeout(60):
            assert await second.wait() == 0
        assert await bench.content(message, Stage.READY) == CONTENT


async def start(spool: Path, script: Path | str, *more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "import sys; from emailrelay_filterd.cli import main; sys.exit(main())"),
        *("--spool-dir", str(spool), "--filter", str(script), *more),
        stdout=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_terminated_filterd_exits_0_in_time_and_loses_nothing(
    tmp_path: Path, workers: str
) -> None:
    spool, pid = tmp_path / "spool", tmp_path / "pid"
    script = tmp_path / "filter"
    script.write_text(f"#!/bin/sh\necho $$ > {pid}.new; mv {pid}.new {pid}; sleep 60\n")
    script.chmod(0o755)
    events: list[Event] = []
    async with open_store(spool, report=events.append) as store:
        bench = Bench(store, tmp_path, events)
        message = await bench.put()
        filterd = await start(spool, script, "--workers", workers)
        await eventually(pid.exists)
        filterd.terminate()
        async with asyncio.timeout(60):
            assert await filterd.wait() == 0
        assert not alive(int(pid.read_text()))
        assert await bench.content(message, Stage.UNFILTERED) == CONTENT


SEVERAL = ENVELOPE._replace(
    to_remote=tuple(map(Address, ("a@one.test", "b@two.test", "c@ONE.test", "d@three.test")))
)


async def ready(bench: Bench, count: int) -> dict[tuple[str, ...], str]:
    """Return the recipients of messages that are ready, with their ForwardTo; take them away."""
    found = dict[tuple[str, ...], str]()
    async with bench.store.feed(Stage.READY) as feed, asyncio.timeout(DEADLINE):
        for _ in range(count):
            async with await feed.claim() as claim:
                text = b"".join([chunk async for chunk in claim.content()])
                assert text.startswith(b"X: 1\n" + CONTENT)
                assert text.count(b"X: 1") == 1
                found[claim.envelope.recipients] = claim.envelope.forward_to
                await claim.settle(Done())
    return found


async def test_each_domain_gets_a_message_that_passes_each_filter_once(bench: Bench) -> None:
    await bench.put(envelope=SEVERAL)
    script = bench.script('{ echo "X: 1"; cat "$1"; } > "$1.n"; mv "$1.n" "$1"')
    async with bench.filterd("split:", script):
        await bench.after(Passed, 3)
    assert len(await bench.after(TakenIn)) == 2
    assert await ready(bench, 3) == {
        ("a@one.test", "c@ONE.test"): "one.test",
        ("b@two.test",): "two.test",
        ("d@three.test",): "three.test",
    }


async def test_message_that_is_rejected_or_held_back_is_not_split(bench: Bench) -> None:
    later, never = await bench.put(envelope=SEVERAL), await bench.put(b"never", SEVERAL)
    script = bench.script('grep -q never "$1" && { echo "<<550 no>>"; exit 1; }; exit 9')
    async with bench.filterd("split:", script):
        await bench.after(Failed)
        await bench.after(Deferred)
    assert not [event for event in bench.events if isinstance(event, TakenIn)]
    for message, stage in ((later, Stage.UNFILTERED), (never, Stage.FAILED)):
        found = await bench.store.describe(message)
        assert found is not None
        assert (found[0], found[1].recipients) == (stage, SEVERAL.recipients)


async def test_local_recipients_are_delivered_and_the_others_forwarded(bench: Bench) -> None:
    boxes = bench.folder / "boxes"
    boxes.mkdir()
    both = ENVELOPE._replace(to_local=(Address("ann"),))
    mixed = await bench.put(envelope=both)
    await bench.put(envelope=both._replace(to_remote=()))
    async with bench.filterd(f"deliver:{boxes}"):
        await bench.after(Passed)
        await bench.after(Abandoned)
    assert [path.read_bytes() for path in (boxes / "ann/new").iterdir()] == [CONTENT] * 2
    found = await bench.store.describe(mixed)
    assert found is not None
    assert (found[0], found[1]) == (Stage.READY, ENVELOPE)
