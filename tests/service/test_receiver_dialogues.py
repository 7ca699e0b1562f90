"""Dialogues from text files, with a real receiver over a socket.

A line ``-> X`` sends X with CRLF (``\\r`` in it is a bare CR), ``<- X`` expects a line that matches
the expression X, or the end of the connection (``EOF``), ``<= CODE`` expects a reply with any
number of lines, and ``mail N`` counts the messages at the end.
"""

import asyncio
import re
from pathlib import Path

import pytest
from tests.service.receiving import HANG, Peer, Running, receiving

DIALOGUES = {
    path.stem: path.read_text().splitlines()
    for path in sorted((Path(__file__).parent / "dialogues").glob("*.smtp"))
}


@pytest.mark.parametrize("name", DIALOGUES)
async def test_the_dialogue_goes_as_written(name: str) -> None:
    async with receiving() as running, running.client() as peer:
        for number, line in enumerate(DIALOGUES[name], 1):
            await step(running, peer, line, f"{name}:{number}")


async def step(running: Running, peer: Peer, line: str, place: str) -> None:
    word, _, rest = line.partition(" ")
    match word:
        case "->":
            peer.send(rest.replace("\\r", "\r").encode() + b"\r\n")
        case "<-":
            async with asyncio.timeout(HANG):
                got = (await peer.reader.readline()).decode()
            expected = "" if rest == "EOF" else rest + "\r\n"
            assert re.fullmatch(expected, got), f"{place}: {got!r}"
        case "<=":
            async with asyncio.timeout(HANG):
                while (got := (await peer.reader.readline()).decode()).startswith(f"{rest}-"):
                    pass
            assert got.startswith(f"{rest} "), f"{place}: {got!r}"
        case "mail":
            assert len(running.mail()) == int(rest), place
        case _:
            assert word.startswith("#"), place
