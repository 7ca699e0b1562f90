"""The encoder's output is read back by the rules of a receiver, and by no other."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay_forwarder.session.dot_stuff import DotStuffer

TEXT = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\r\n.\r\n", b"\n.\n", b"\xff"])
).map(b"".join)


def encode(chunks: list[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*(stuffer.feed(chunk) for chunk in chunks), stuffer.finish()])


def receive(octets: bytes) -> bytes:
    """Read as RFC 5321 section 4.5.2 says; there must be nothing behind the first final dot."""
    assert octets.endswith(b".\r\n")
    lines = octets.split(b"\r\n")
    end = lines.index(b".")
    assert lines[end + 1 :] == [b""]
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])


def with_crlf(text: bytes) -> bytes:
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", text.replace(b"\0", b""))
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


@given(st.lists(TEXT))
def test_any_chunks_arrive_as_their_lines_with_crlf(chunks: list[bytes]) -> None:
    assert receive(encode(chunks)) == with_crlf(b"".join(chunks))


@given(st.lists(TEXT))
def test_neither_bare_cr_nor_bare_lf_nor_nul_leaves(chunks: list[bytes]) -> None:
    sent = encode(chunks)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", sent)


@given(TEXT, st.integers(min_value=1, max_value=5))
def test_edges_of_chunks_change_nothing(text: bytes, width: int) -> None:
    cut = [text[at : at + width] for at in range(0, len(text), width)]
    assert encode(cut) == encode([text])


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"", b".\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".\r\n..\r\n.a\r\n", b"..\r\n...\r\n..a\r\n.\r\n"),
        (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r\n\0.\r\0\n\0b", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r\r\n.\r\r\nb", b"a\r\n\r\n..\r\n\r\nb\r\n.\r\n"),
    ],
)
def test_content_is_sent_as(content: bytes, sent: bytes) -> None:
    assert encode([content]) == sent
