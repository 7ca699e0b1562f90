"""Only a whole line with nothing before it is a command to answer at once."""

import asyncio
from typing import cast

import pytest

from emailrelay_receiver.connection.client_input import LIMIT, ClientInput, LineTooLong


def client_input() -> ClientInput:
    return ClientInput(asyncio.get_running_loop())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"NOOP\r\n", b"NOOP"),
        (b"NOOP\n", b"NOOP"),
        (b"\r\n", b""),
        (b"NOOP", None),
        (b"NOOP\r", None),
        (b"NOOP\r\nRSET\r\n", None),
        (b"NOOP\r\nRS", None),
        (b"x" * LIMIT + b"\r\n", None),
    ],
)
async def test_a_whole_line_that_comes_alone(data: bytes, line: bytes | None) -> None:
    assert client_input().whole_line(data) == line


async def test_nothing_behind_what_has_come_already() -> None:
    taken = client_input()
    waiting = asyncio.create_task(taken.line())
    await turns()
    taken.feed(b"NO")
    assert taken.whole_line(b"OP\r\n") is None
    taken.feed(b"OP\r\n")
    # The task has not read it yet: a reply to the next would overtake the reply to this one.
    assert taken.whole_line(b"RSET\r\n") is None
    assert await waiting == b"NOOP"


class Paused:
    """A transport that knows whether its reading is paused."""

    def __init__(self) -> None:
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def test_pause_goes_over_to_the_encrypted_connection() -> None:
    taken, plain, encrypted = client_input(), Paused(), Paused()
    taken.read_from(cast("asyncio.Transport", plain))
    taken.feed(b"NOOP\r\n" * LIMIT)  # behind the handshake, before its end is known here
    assert plain.paused
    taken.read_from(cast("asyncio.Transport", encrypted))
    assert (plain.paused, encrypted.paused) == (False, True)
    taken.take_all()
    assert (plain.paused, encrypted.paused) == (False, False)


async def test_an_overlong_line_is_skipped_to_its_end() -> None:
    taken = client_input()
    waiting = asyncio.create_task(taken.line())
    await turns()
    taken.feed(b"x" * (3 * LIMIT))
    await turns()
    assert taken.take_all() == b""
    taken.feed(b"RSET\r\n")
    with pytest.raises(LineTooLong):
        await waiting


async def test_what_is_put_back_comes_before_what_has_arrived_meanwhile() -> None:
    taken = client_input()
    taken.feed(b"QUIT\r\n")
    taken.put_back(b"NOOP\r\n")
    assert [taken.waiting_line() for _ in range(3)] == [b"NOOP", b"QUIT", None]


async def test_octets_before_the_end_can_still_be_taken() -> None:
    taken = client_input()
    taken.feed(b"abc")
    taken.end()
    assert taken.take(2) == b"ab"
    assert taken.take(2) == b"c"
    with pytest.raises(EOFError):
        taken.take(2)


async def test_a_broken_connection_is_told_to_the_one_who_waits() -> None:
    taken = client_input()
    waiting = asyncio.create_task(taken.line())
    await turns()
    taken.end(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await waiting
