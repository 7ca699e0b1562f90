"""The filter net: its request, and the answers that become verdicts."""

import asyncio
import re
import socket
import sys
from pathlib import Path

import pytest
from tests.fakes.filter_servers import LineFilter, serving
from tests.service.network_filters.filter_server import CONTENT, DEADLINE, Desk, say_ok, trouble

from emailrelay.filters.verdict import (
    Accept,
    BrokenFilter,
    Reject,
    Side,
    Spoken,
    Verdict,
    from_line,
)
from emailrelay.reply import Reply


def put_in_front(path: Path, line: bytes) -> None:
    path.write_bytes(line + path.read_bytes())


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


async def test_absent_filter_and_endless_answer_are_trouble(desk: Desk) -> None:
    async def endless(_path: Path) -> str:
        return "x" * 100_000

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert trouble(await desk.ask(f"net:127.0.0.1:{port}")).startswith("cannot be used: ")
    async with serving(LineFilter(endless)) as place:
        assert trouble(await desk.ask(f"net:{place}")) == "its answer is an endless line"


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
    page = (Path(__file__).parents[3] / "docs" / "filters.md").read_text()
    (found,) = re.findall(r"```python\n(\"[^`]*?socketserver.*?)```", page, re.DOTALL)
    return str(found)
