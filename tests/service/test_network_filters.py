"""Filters that are not programs: servers on real sockets, spamd's protocol, the Message-ID."""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.filter_servers import FakeSpamd, LineFilter, serving

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.filters import connections
from emailrelay.filters.chain import Chain
from emailrelay.filters.editing import with_crlf
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import MessageIdFilter, NetFilter, SpamFilter, parse_chain
from emailrelay.filters.verdict import (
    Accept,
    BrokenFilter,
    Reject,
    Side,
    Spoken,
    Verdict,
    from_line,
)
from emailrelay.host_port import HostPort, UnixPath
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.service.loop import loop_factory
from emailrelay.store.base import WorkCopy

MESSAGE = QueueId("1.2.3")
ENVELOPE = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
CONTENT = b"Subject: hello\r\n\r\nworld\r\n"
DEADLINE = 10.0


class Desk:
    """Work copies, and the filters that are asked about them."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self.programs = programs

    def copy(self, content: bytes = CONTENT) -> WorkCopy:
        folder = self.folder / f"{len(list(self.folder.iterdir()))}.run"
        folder.mkdir()
        copy = WorkCopy(str(folder / "m.content"), str(folder / "m.envelope.new"))
        copy.content.write_bytes(content)
        copy.envelope.write_bytes(envelope_format.write(ENVELOPE))
        return copy

    async def ask(
        self, *specs: str, copy: WorkCopy | None = None, side: Side = Side.SERVER
    ) -> Spoken:
        chain = Chain(filters=parse_chain(specs), side=side, programs=self.programs)
        async with asyncio.timeout(DEADLINE):
            return await chain.run(copy or self.copy(), message=MESSAGE)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=0.5)) as programs:
        yield Desk(tmp_path, programs)


async def say_ok(_path: Path) -> str:
    return "ok\n"


def put_in_front(path: Path, line: bytes) -> None:
    path.write_bytes(line + path.read_bytes())


def trouble(spoken: Spoken) -> str:
    assert isinstance(spoken.verdict, BrokenFilter)
    return spoken.verdict.reason


# net:


async def test_network_filter_is_told_the_path_and_may_edit_the_content(desk: Desk) -> None:
    async def edit(path: Path) -> str:
        put_in_front(path, b"X: y\r\n")
        return "ok\n"

    copy = desk.copy()
    async with serving(LineFilter(edit)) as place:
        assert await desk.ask(f"net:{place}", copy=copy) == Spoken(Accept(), f"net:{place}")
    assert copy.content.read_bytes() == b"X: y\r\n" + CONTENT


async def test_network_filter_may_listen_on_a_unix_socket(desk: Desk, sockets: Path) -> None:
    place = sockets / "filter"
    async with serving(LineFilter(say_ok), place):
        assert (await desk.ask(f"net:{place}")).verdict == Accept()


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("", Accept()),
        ("ok", Accept()),
        ("OK then", Accept()),
        ("virus\tEICAR in part 2", Reject(reply=Reply(452, "virus"), reason="EICAR in part 2")),
        ("550 5.7.1 no", Reject(reply=Reply(550, "5.7.1 no"), reason="the filter said so")),
        ("\t\x1bwhy", Reject(reply=Reply(452, "rejected"), reason="why")),
    ],
)
def test_answering_line_becomes_the_verdict(line: str, verdict: Verdict) -> None:
    assert from_line(line, Side.SERVER) == verdict


async def test_a_client_filters_refusal_is_final(desk: Desk) -> None:
    async def refuse(_path: Path) -> str:
        return "451 later\twhy\n"

    async with serving(LineFilter(refuse)) as place:
        spoken = await desk.ask(f"net:{place}", side=Side.CLIENT)
    assert spoken.verdict == Reject(reply=Reply(550, "later"), reason="why")


async def test_connection_is_kept_for_the_next_message(desk: Desk) -> None:
    served = LineFilter(say_ok)
    async with serving(served) as place:
        for _ in range(3):
            assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert served.connections == 1


async def test_messages_at_the_same_time_have_a_connection_each(desk: Desk) -> None:
    all_here = asyncio.Barrier(3)

    async def meet(_path: Path) -> str:
        await all_here.wait()
        return "\n"

    served = LineFilter(meet)
    async with serving(served) as place:
        spoken = await asyncio.gather(*(desk.ask(f"net:{place}") for _ in range(3)))
        assert [one.verdict for one in spoken] == [Accept()] * 3
        assert (served.connections, served.most_at_once) == (3, 3)


async def test_filter_that_was_restarted_is_connected_to_again(desk: Desk, sockets: Path) -> None:
    place = sockets / "filter"
    async with serving(LineFilter(say_ok), place):
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
    place.unlink()
    again = LineFilter(say_ok)
    async with serving(again, place):
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert again.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(["ok\n", "", "ok\n"], id="closed at the question"),
        pytest.param(["ok\n552 unasked\n", "ok\n"], id="said more than was asked"),
    ],
)
async def test_kept_connection_of_no_more_use_is_replaced(desk: Desk, said: list[str]) -> None:
    answers = iter(said)

    async def answer(_path: Path) -> str:
        return next(answers)

    served = LineFilter(answer)
    async with serving(served) as place:
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert served.connections == 2


async def test_fresh_connection_that_is_closed_is_trouble_and_no_loop(desk: Desk) -> None:
    async def close(_path: Path) -> str:
        return ""

    served = LineFilter(close)
    async with serving(served) as place:
        assert trouble(await desk.ask(f"net:{place}")) == "it closed the connection"
        assert served.connections == 1


async def test_answer_that_comes_too_late_is_not_taken_for_the_next_ones(desk: Desk) -> None:
    answers = iter([(2.0, "552 late\n"), (0.0, "ok\n")])

    async def answer(_path: Path) -> str:
        seconds, text = next(answers)
        await asyncio.sleep(seconds)
        return text

    served = LineFilter(answer)
    async with serving(served) as place:
        assert trouble(await desk.ask(f"net:{place}")) == "no verdict within 0.5 s"
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert served.connections == 2


def test_connection_is_kept_in_the_services_own_loop_too(tmp_path: Path) -> None:
    served = LineFilter(say_ok)

    async def ask_twice() -> list[Verdict]:
        async with Programs() as programs, serving(served) as place:
            there = Desk(tmp_path, programs)
            return [(await there.ask(f"net:{place}")).verdict for _ in range(2)]

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(ask_twice()) == [Accept(), Accept()]
    assert served.connections == 1


async def test_absent_filter_and_endless_answer_are_trouble(desk: Desk) -> None:
    async def endless(_path: Path) -> str:
        return "x" * 100_000

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert trouble(await desk.ask(f"net:127.0.0.1:{port}")).startswith("cannot be used: ")
    async with serving(LineFilter(endless)) as place:
        assert trouble(await desk.ask(f"net:{place}")) == "its answer is an endless line"


async def test_unneeded_connection_is_closed_after_a_while(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE", 0.01)
    served = LineFilter(say_ok)
    async with serving(served) as place:
        await desk.ask(f"net:{place}")
        async with asyncio.timeout(DEADLINE):
            await served.closed.wait()
        assert (await desk.ask(f"net:{place}")).verdict == Accept()


async def test_example_of_the_page_does_what_it_says(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = str(found.getsockname()[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example().replace("10025", port)
    )
    try:
        async with asyncio.timeout(DEADLINE):
            while isinstance((await desk.ask(f"net:127.0.0.1:{port}")).verdict, BrokenFilter):  # noqa: ASYNC110 - another process's start
                await asyncio.sleep(0.05)
        bad = desk.copy(b"Subject: lottery\r\n\r\n")
        verdict = (await desk.ask(f"net:127.0.0.1:{port}", copy=bad)).verdict
        assert verdict == Reject(reply=Reply(550, "5.7.1 no lotteries"), reason="the word is in it")
    finally:
        process.kill()
        await process.wait()


def example() -> str:
    page = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()
    (found,) = re.findall(r"```python\n(\"[^`]*?socketserver.*?)```", page, re.DOTALL)
    return str(found)


# spam:


async def test_spam_is_rejected_for_good_and_other_mail_passes_untouched(desk: Desk) -> None:
    spamd, copy = FakeSpamd(), desk.copy()
    async with serving(spamd) as place:
        assert (await desk.ask(f"spam:{place}", copy=copy)).verdict == Accept()
        spoken = await desk.ask(f"spam:{place}", copy=desk.copy(b"Subject: SPAM\r\n\r\n"))
    assert spoken.verdict == Reject(
        reply=Reply(550, "5.7.1 message looks like spam"), reason="spam: 15.5 of 5 points"
    )
    assert spamd.requests == [("CHECK", CONTENT), ("CHECK", b"Subject: SPAM\r\n\r\n")]
    assert copy.content.read_bytes() == CONTENT


async def test_spamd_marks_what_it_is_asked_to_edit(desk: Desk, sockets: Path) -> None:
    copy, place = desk.copy(b"Subject: SPAM\r\n\r\nbuy\r\n"), sockets / "spamd"
    async with serving(FakeSpamd(), place):
        assert (await desk.ask(f"spam-edit:{place}", copy=copy)).verdict == Accept()
    assert copy.content.read_bytes() == b"X-Spam-Flag: YES\r\nSubject: SPAM\r\n\r\nbuy\r\n"
    assert sorted(path.name for path in copy.content.parent.iterdir()) == [
        "m.content",
        "m.envelope.new",
    ]


async def test_large_message_goes_to_spamd_and_comes_back_whole(desk: Desk) -> None:
    content = b"Subject: x\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 30_000
    copy = desk.copy(content)
    desk.programs.limits = ProgramLimits(timeout=DEADLINE)
    async with serving(FakeSpamd()) as place:
        assert (await desk.ask(f"spam-edit:{place}", copy=copy)).verdict == Accept()
    assert copy.content.read_bytes() == b"X-Spam-Flag: YES\r\n" + content


@pytest.mark.parametrize(
    ("kind", "spamd", "reason"),
    [
        ("spam", FakeSpamd(status="SPAMD/1.1 79 Timeout: 30s"), "it says 79 Timeout: 30s"),
        ("spam-edit", FakeSpamd(status="SPAMD/1.1 79 Timeout: 30s"), "it says 79 Timeout: 30s"),
        ("spam", FakeSpamd(status="220 mail.test ESMTP"), "that is not spamd: b'220 mail.test"),
        ("spam", FakeSpamd(spam_line="X-Other: 1"), "its answer has no Spam: line"),
        ("spam-edit", FakeSpamd(shortened=4), "it gave only "),
    ],
)
async def test_trouble_of_spamd_holds_mail_back_unchanged(
    desk: Desk, kind: str, spamd: FakeSpamd, reason: str
) -> None:
    copy = desk.copy()
    async with serving(spamd) as place:
        assert trouble(await desk.ask(f"{kind}:{place}", copy=copy)).startswith(reason)
    assert copy.content.read_bytes() == CONTENT
    assert len(list(copy.content.parent.iterdir())) == 2


async def test_content_that_an_earlier_filter_removed_is_a_rejection(desk: Desk) -> None:
    remove = desk.folder / "remove"
    remove.write_text('#!/bin/sh\nrm "$1"\n')
    remove.chmod(0o755)
    spamd = FakeSpamd()
    async with serving(spamd) as place:
        for spec in (f"spam:{place}", f"spam-edit:{place}", "msgid:"):
            verdict = (await desk.ask(str(remove), spec)).verdict
            assert isinstance(verdict, Reject)
            assert verdict.reply.code == 554
    assert spamd.requests == []


@given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"\r\n", b"b\r\n"])))
def test_lone_lf_becomes_crlf_wherever_the_pieces_end(pieces: list[bytes]) -> None:
    written: list[bytes] = []
    write = with_crlf(written.append)
    for piece in pieces:
        write(piece)
    whole = b"".join(pieces)
    assert b"".join(written) == re.sub(rb"\r?\n", b"\r\n", whole)


# msgid:


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (
            b"Subject: x\r\nFrom: <a@b>\r\n\r\nMessage-ID: <no@t>\r\n",
            b"\r\n\r\nMessage-ID: <no@t>\r\n",
        ),
        (b"Subject: x\r\n folded\r\n", b"\r\n"),
        (b"Subject: x", b"\r\n"),
        (b"\r\nbody\r\n", b"\r\n\r\nbody\r\n"),
        (b"no header at all\r\n", b"\r\nno header at all\r\n"),
    ],
)
async def test_missing_message_id_is_put_behind_the_header(
    desk: Desk, content: bytes, end: bytes
) -> None:
    copy = desk.copy(content)
    assert (await desk.ask("msgid:", copy=copy)).verdict == Accept()
    made = f"Message-ID: <1.2.3@{socket.gethostname()}>".encode()
    before, after = copy.content.read_bytes().split(made)
    assert after == end
    assert content.startswith(before.removesuffix(b"\r\n"))


async def test_message_id_never_stands_in_the_middle_of_a_field(desk: Desk) -> None:
    content = b"X: y\r\n" + b" folded\r\n" * 200_000 + b"\r\n"
    copy = desk.copy(content)
    assert (await desk.ask("msgid:", copy=copy)).verdict == Accept()
    first, rest = copy.content.read_bytes().split(b"\r\n", 1)
    assert first.startswith(b"Message-ID: <1.2.3@")
    assert rest == content
    copy.content.write_bytes(content[6:])
    assert (await desk.ask("msgid:", copy=copy)).verdict == Accept()
    assert copy.content.read_bytes() == content[6:]


@pytest.mark.parametrize(
    "content", [b"Message-ID: <a@b>\r\n\r\n", b"A: b\r\nmessage-id : \r\n <a@b>\r\n\r\nx\r\n"]
)
async def test_message_with_an_id_is_left_alone(desk: Desk, content: bytes) -> None:
    copy = desk.copy(content)
    before = copy.content.stat().st_ino
    assert (await desk.ask("msgid:", copy=copy)).verdict == Accept()
    assert (copy.content.read_bytes(), copy.content.stat().st_ino) == (content, before)


# Specs


def test_specs_say_where_a_filter_listens() -> None:
    specs = "net:[::1]:10025,net:/run/f.sock,spam:127.0.0.1:783,spam-edit:/run/spamd,msgid:"
    chain = parse_chain([specs])
    assert chain == (
        NetFilter(HostPort("::1", "10025")),
        NetFilter(UnixPath("/run/f.sock")),
        SpamFilter(HostPort("127.0.0.1", "783"), edit=False),
        SpamFilter(UnixPath("/run/spamd"), edit=True),
        MessageIdFilter(),
    )
    assert ",".join(map(str, chain)) == specs


@pytest.mark.parametrize(
    "spec", ["net:", "net:host", "net:host:0", "net:::1:25", "spam:host:smtp", "msgid:x"]
)
def test_places_that_cannot_be_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"filter {re.escape(spec)}: "):
        parse_chain([spec])
