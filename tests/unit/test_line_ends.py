"""Line ends that stand alone are found wherever they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.line_ends import Bare, bare


@pytest.mark.parametrize(
    ("octets", "cr", "lf"),
    [
        (b"", False, False),
        (b"text", False, False),
        (b"a\r\nb\r\n", False, False),
        (b"\r\n" * 1000 + b"\n", False, True),
        (b"\n", False, True),
        (b"\n\r\n", False, True),
        (b"\r", True, False),
        (b"\r\r\n", True, False),
        (b"a\rb\r\n", True, False),
        (b"\r\n\r", True, False),
        (b"\n\r", True, True),
        (b"\r\n\xe9\x85\xa8\xff\0\x0b\x0c\x1c\x85\r\n", False, False),
    ],
)
def test_what_stands_alone(octets: bytes, *, cr: bool, lf: bool) -> None:
    assert bare(octets) == Bare(cr=cr, lf=lf)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\xff"]), max_size=30).map(b"".join))
def test_it_agrees_with_counting(octets: bytes) -> None:
    pairs = octets.count(b"\r\n")
    assert bare(octets) == Bare(cr=octets.count(b"\r") > pairs, lf=octets.count(b"\n") > pairs)
