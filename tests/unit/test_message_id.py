"""The Message-ID is found where a header has it, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.message_id import BEGINNING, LONGEST, of_content

FIELD = b"Message-ID: <1@x.test>\r\n"


@pytest.mark.parametrize(
    "content",
    [
        FIELD,
        FIELD + b"\r\nbody\r\n",
        b"Subject: x\r\n" + FIELD + b"To: y\r\n\r\nbody\r\n",
        b"MESSAGE-id:<1@x.test>\r\n\r\n",
        b"Message-Id:\r\n\t<1@x.test>\r\n\r\n",
        b"Message-Id:   <1@x.test>   \r\n \r\n\r\n",
        b"Subject: x\nmessage-id: <1@x.test>\n\nbody\n",
        FIELD + b"Message-ID: <2@x.test>\r\n\r\n",
        FIELD + b"\r\n" + b"x" * BEGINNING,
    ],
)
def test_first_field_of_the_header_counts(content: bytes) -> None:
    assert of_content(content) == "<1@x.test>"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n" + FIELD,
        b"Subject: x\r\n\r\n" + FIELD + b"\r\n",
        b"Subject: x\n\n" + FIELD + b"\r\n",
        b"Subject: x\r\n Message-ID: <folded@x.test>\r\n\r\n",
        b"X-Message-ID: <1@x.test>\r\nResent-Message-ID: <1@x.test>\r\n\r\n",
        b"Message-ID:\r\nSubject: x\r\n\r\n",
        b"Message-ID: <cut@x.test>",
        b"Message-ID: <\x1b@x.test>\r\n",
        b"Message-ID: <\xff@x.test>\r\n",
        "Message-ID: <\N{LINE SEPARATOR}@x.test>\r\n".encode(),
        b"Message-ID: <" + b"x" * LONGEST + b">\r\n",
        b"X: " + b"x" * BEGINNING + b"\r\n" + FIELD + b"\r\n",
    ],
)
def test_there_is_none(content: bytes) -> None:
    assert of_content(content) == ""


def test_utf8_is_kept() -> None:
    assert of_content("Message-ID: <\u00e4@x.test>\r\n\r\n".encode()) == "<\u00e4@x.test>"


@given(st.binary(max_size=200) | st.text("mM:\r\n <>x", max_size=60).map(str.encode))
def test_any_octets_give_one_bounded_line(octets: bytes) -> None:
    found = of_content(b"Message-ID: " + octets)
    assert found.isprintable()
    assert len(found.encode()) <= LONGEST
