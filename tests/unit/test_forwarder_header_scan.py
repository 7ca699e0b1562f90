"""Messages with a header that needs SMTPUTF8."""

from collections.abc import AsyncIterator
from typing import Self, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay_forwarder.delivery.header_scan import LONGEST_LINE, HeaderScan, beyond_ascii

PARTS = (
    'MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary="a b"\n\npreämble\n'
    "--a b\nContent-Type: text/plain\n\nbödy\n-- \n--a\n"
    "--a b\nContent-Type: multipart/alternative; x=y; boundary=inner\n\n"
    "--inner  \n{}\n\nbödy\n--inner--\n--a b--\nepilögue: x\n"
)
ASCII = [
    "Subject: x\n\nbödy\n\nX-Not-A-Header: ä\n",
    "Subject: x\n\n--a b\nX-No-Part: ä\n",
    PARTS.format("X: y"),
    "",
    "Subject: only a header",
    "\nX: ä",
    "Content-Type: message/rfc822\n\nSubject: y\n\nbödy\n",
]
BEYOND = [
    "Subject: ä\n\nbody\n",
    "Subject: x\n ä\n\nbody\n",
    "Subject: ä",
    PARTS.format("Content-Disposition: attachment; filename=ä"),
    PARTS.format("Content-Type: message/rfc822\n\nSubject: ä"),
    "Content-Type: message/global\n\nSubject: ä\n\nbody\n",
    'CONTENT-TYPE : Multipart/x;Boundary="q\\"q"\n\n--q"q\nX: ä\n',
    "X: " + "y" * LONGEST_LINE + "\nZ: ä\n\n",
]


def scan(text: str, width: int, end: str) -> bool:
    octets = text.replace("\n", end).encode()
    found = HeaderScan()
    for at in range(0, len(octets), width):
        found.feed(octets[at : at + width])
    found.finish()
    return found.found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("width", [1, 2, 3, 7, 1 << 18])
def test_only_headers_count(width: int, end: str) -> None:
    for text in ASCII:
        assert not scan(text, width, end), text
    for text in BEYOND:
        assert scan(text, width, end), text


@given(st.binary(), st.integers(1, 9))
def test_no_octets_are_too_odd(octets: bytes, width: int) -> None:
    found = HeaderScan()
    for at in range(0, len(octets), width):
        found.feed(octets[at : at + width])
    found.finish()
    assert not (found.found and octets.isascii())


async def test_a_simple_message_is_read_no_further_than_its_header() -> None:
    given_out = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal given_out
        for chunk in (b"Subject: x\r\n\r\n", b"body", b"body"):
            given_out += 1
            yield chunk

    assert not await beyond_ascii(content())
    assert given_out == 1


def test_a_body_is_not_kept() -> None:
    found = HeaderScan()
    found.feed(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n")
    for body in (b"x" * 100_000, b"--" + b"x" * 100_000, b"\r\n--" * 1000 + b"x" * 100_000):
        found.feed(body)
        assert found.held < 1000


class Counted(bytes):
    """Octets that count how many of them are copied."""

    copied = 0

    def __radd__(self, before: bytes) -> Self:
        return self._copy(before + bytes(self))

    def __getitem__(self, where: SupportsIndex | slice) -> bytes:  # type: ignore[override]
        return self._copy(bytes(self)[where]) if isinstance(where, slice) else b""

    def partition(self, sep: object, /) -> tuple[bytes, bytes, bytes]:
        assert isinstance(sep, bytes)
        before, at, after = bytes(self).partition(sep)
        return self._copy(before), at, self._copy(after)

    def _copy(self, octets: bytes) -> Self:
        type(self).copied += len(octets)
        return type(self)(octets)


@pytest.mark.parametrize(
    ("begins", "line"),
    [(b"", b"a:\n"), (b"Content-Type: multipart/x; boundary=x\n\n", b"--\n")],
)
def test_each_octet_is_copied_a_few_times_only(begins: bytes, line: bytes) -> None:
    chunk = Counted(begins + line * 10_000)
    Counted.copied = 0
    HeaderScan().feed(chunk)
    assert Counted.copied < 4 * len(chunk)
