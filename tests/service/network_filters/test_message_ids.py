"""The filter msgid: puts a Message-ID where one is missing."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.service.network_filters.filter_server import Desk

from emailrelay.filters.editing import with_crlf
from emailrelay.filters.verdict import Accept


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
