"""The end of content is CRLF.CRLF and nothing else, in any pieces of the octets."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emailrelay_receiver.content.dot_reader import DotReader, HopCounter

END = b"\r\n.\r\n"
NOISE = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\0", b"\r\n.", b" "]), max_size=40
).map(b"".join)


def read(stream: bytes, cuts: list[int]) -> tuple[bytes, DotReader]:
    reader = DotReader()
    content = b""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, stop in pairwise(places):
        content += reader.feed(stream[start:stop])
        if reader.rest is not None:
            reader.rest += stream[stop:]
            break
    return content, reader


def stuffed(content: bytes) -> bytes:
    lines = content.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


@given(st.lists(st.sampled_from([b"a", b".", b"..", b".a", b"", b"a.b"])), st.lists(st.integers(0)))
def test_what_was_stuffed_comes_out_as_it_was(lines: list[bytes], cuts: list[int]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    got, reader = read(stuffed(content) + b".\r\nQUIT\r\n", cuts)
    assert (got, reader.rest, reader.stray) == (content, b"QUIT\r\n", False)


@given(NOISE, st.lists(st.integers(0)))
@example(b".", [])
@example(b"\r\n.\r", [1, 2, 3, 4])
def test_pieces_make_no_difference(noise: bytes, cuts: list[int]) -> None:
    stream = noise + END + b"rest"
    whole, whole_reader = read(stream, [])
    cut, cut_reader = read(stream, cuts)
    assert (cut, cut_reader.rest) == (whole, whole_reader.rest)
    assert cut_reader.stray == whole_reader.stray


@given(NOISE)
def test_the_end_is_the_first_one_on_the_wire(noise: bytes) -> None:
    stream = noise + END + b"rest"
    _, reader = read(stream, [])
    # The content begins as if after a CRLF.
    expected = (b"\r\n" + stream).index(END) - 2 + len(END)
    assert reader.rest == stream[expected:]


@given(NOISE, st.lists(st.integers(0)))
def test_what_is_given_has_whole_line_ends_only(noise: bytes, cuts: list[int]) -> None:
    content, reader = read(noise + END, cuts)
    assert content.count(b"\n") == content.count(b"\r\n")
    if not reader.stray:
        assert content.count(b"\r") == content.count(b"\r\n")
        assert b"\0" not in content


@pytest.mark.parametrize("mask", range(2**5))
def test_the_end_is_found_once_in_every_split(mask: int) -> None:
    stream = b"text" + END + b"MAIL"
    cuts = [4 + place for place in range(5) if mask >> place & 1]
    content, reader = read(stream, cuts)
    assert (content, reader.rest) == (b"text\r\n", b"MAIL")


@pytest.mark.parametrize("size", [*range(65533, 65540), *range(1048573, 1048580)])
def test_the_end_is_found_at_the_edges_of_buffers(size: int) -> None:
    stream = b"x" * size + END
    content, reader = read(stream, list(range(0, size, 65536)))
    assert (len(content), reader.rest) == (size + 2, b"")


@pytest.mark.parametrize(
    ("payload", "stray"),
    [
        pytest.param(b"\n.\n", False, id="SM01"),
        pytest.param(b"\n.\r\n", False, id="SM02"),
        pytest.param(b"\r\n.\n", False, id="SM03"),
        pytest.param(b"\r.\r", True, id="SM04-1"),
        pytest.param(b"\r.\r\n", True, id="SM04-2"),
        pytest.param(b"\r.\n", True, id="SM04-3"),
        pytest.param(b"\n.\r", True, id="SM04-4"),
        pytest.param(b"\r\n.\r", True, id="SM04-5"),
        pytest.param(b"\r\r\n.\r\r\n", True, id="SM05-1"),
        pytest.param(b"\r\n.\r\r\n", True, id="SM05-2"),
        pytest.param(b"\r\n\0.\r\n", True, id="SM07-1"),
        pytest.param(b"\r\n.\0\r\n", True, id="SM07-2"),
        pytest.param(b"\0\r\n.\0\r\n", True, id="SM07-3"),
        pytest.param(b"\r\0\n.\r\n", True, id="SM07-4"),
        pytest.param(b"\r\n.\r\0\n", True, id="SM07-5"),
        pytest.param(b"\n\n.\r\n", False, id="SM08-1"),
        pytest.param(b"\x0b.\r\n", False, id="SM08-2"),
        pytest.param(b"\xc2\x85.\r\n", False, id="SM08-3"),
        pytest.param(b" .\r\n", False, id="SM08-4"),
        pytest.param(b"\r\n. \r\n", False, id="SM08-5"),
    ],
)
def test_what_only_resembles_the_end_does_not_end(payload: bytes, *, stray: bool) -> None:
    smuggled = b"MAIL FROM:<smuggled>\r\n"
    _, reader = read(b"text" + payload + smuggled + b".\r\n", [])
    assert (reader.rest, reader.stray) == (b"", stray)


def test_a_cr_before_the_end_ends_a_message_that_is_refused() -> None:  # SM06
    _, reader = read(b"text\r\r\n.\r\nQUIT", [])
    assert (reader.rest, reader.stray) == (b"QUIT", True)


def test_what_follows_the_end_belongs_to_the_commands() -> None:  # SM07, the last
    content, reader = read(b"text\r\n.\r\n\0", [])
    assert (content, reader.rest, reader.stray) == (b"text\r\n", b"\0", False)


def test_an_empty_message_is_a_lone_dot() -> None:  # SM11
    content, reader = read(b".\r\n", [])
    assert (content, reader.rest) == (b"", b"")


def test_a_bare_lf_becomes_a_line_end() -> None:
    content, _ = read(b"a\nb\r\n\nc\r\n.\r\n", [])
    assert content == b"a\r\nb\r\n\r\nc\r\n"


def test_a_dot_behind_a_bare_lf_is_content() -> None:
    content, _ = read(b"a\n..b\r\n.\r\n", [])
    assert content == b"a\r\n..b\r\n"


@given(st.integers(0, 5), st.lists(st.integers(0)))
def test_received_lines_of_the_header_are_counted(hops: int, cuts: list[int]) -> None:
    content = b"RECEIVED: x\r\n\tfolded\r\nX-Received: no\r\n" * hops
    content += b"Subject: s\r\n\r\nReceived: in the body\r\n"
    counter = HopCounter()
    places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    for start, stop in pairwise(places):
        counter.feed(content[start:stop])
    assert counter.hops == hops


def test_a_message_without_header_has_no_hops() -> None:
    counter = HopCounter()
    counter.feed(b"\r\nReceived: in the body\r\n")
    assert counter.hops == 0
