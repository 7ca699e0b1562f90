"""The packets of the milter protocol, and the changes of a header; no peer."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.filters.milter import header_fields, negotiation, new_header, packets
from emailrelay.filters.milter.header_fields import MilterField
from emailrelay.filters.milter.packets import (
    AddHeader,
    ChangeHeader,
    Command,
    HeaderChange,
    InsertHeader,
    MilterError,
)

OWN = b" id 1.2.3;"
NAMES = st.sampled_from([b"Subject", b"subject", b"To", b"X-A", b"Received"])
VALUES = st.binary(max_size=30).map(lambda octets: octets.replace(b"\0", b""))
CHANGES: st.SearchStrategy[list[HeaderChange]] = st.lists(
    st.one_of(
        st.builds(AddHeader, NAMES, VALUES),
        st.builds(InsertHeader, st.integers(0, 12), NAMES, VALUES),
        st.builds(ChangeHeader, st.integers(0, 5), NAMES, VALUES),
    ),
    max_size=8,
)
LINES = st.lists(
    st.sampled_from(
        [
            b"Subject: s\r\n",
            b"To: t\r\n\tu\r\n",
            b"X-A:\r\n",
            b"Received: by us\r\n id 1.2.3; now\r\n",
            b"x-b : c\n",
            b" blank first\r\n",
            b"no field\r\n",
            b"\r\n",
        ]
    ),
    max_size=8,
).map(b"".join)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=50))), st.data())
def test_packets_arrive_whole_however_they_are_cut(
    sent: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(packets.packet(kind, octets) for kind, octets in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    buffer, found = bytearray(), list[tuple[bytes, bytes]]()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        buffer += stream[begin:end]
        while (taken := packets.taken(buffer)) is not None:
            found.append(taken)
    assert found == sent
    assert not buffer


@given(st.binary(max_size=200))
def test_any_octets_are_packets_or_an_error(octets: bytes) -> None:
    buffer = bytearray(octets)
    try:
        while (taken := packets.taken(buffer)) is not None:
            packets.response(*taken)
    except MilterError:
        pass


@given(st.sampled_from(b"yhim+-2ebqcardtspf4"), st.binary(max_size=60))
def test_any_data_are_an_answer_or_an_error(kind: int, data: bytes) -> None:
    try:
        found = packets.response(bytes((kind,)), data)
    except MilterError:
        return
    if isinstance(found, AddHeader | InsertHeader | ChangeHeader):
        assert header_fields.split(found.name + b":\r\n", OWN).fields
    if isinstance(found, packets.ReplyCode):
        assert 400 <= found.reply.code <= 599
        assert str(found.reply).isascii()
        assert str(found.reply).isprintable()


@given(st.binary(max_size=80))
def test_any_negotiation_is_an_agreement_or_an_error(data: bytes) -> None:
    try:
        terms = negotiation.terms(b"O", data)
    except MilterError:
        return
    assert 2 <= terms.version <= 6


@given(st.lists(st.binary(max_size=20), min_size=1))
def test_no_text_ends_a_packet_early(texts: list[bytes]) -> None:
    buffer = bytearray(packets.texts(Command.RCPT, *texts))
    taken = packets.taken(buffer)
    assert taken is not None
    assert taken[1].count(b"\0") == len(texts)


@pytest.mark.parametrize("length", [65_000, 65_535, 200_000])
def test_long_field_fits_into_a_packet(length: int) -> None:
    buffer = bytearray(packets.header(b"X-Long", bytes((97,)) * length))
    taken = packets.taken(buffer)
    assert taken is not None
    assert len(taken[1]) == min(length + len(b"X-Long") + 2, packets.CHUNK)


@given(LINES, st.binary(max_size=20))
def test_header_without_changes_is_what_it_was(lines: bytes, body: bytes) -> None:
    content = lines + b"\r\n" + body
    found = header_fields.split(content, OWN)
    kept = b"".join(field.lines for field in found.fields)
    assert content.startswith(kept)
    assert content[: found.body_at].removeprefix(kept) in {b"", b"\r\n", b"\n"}
    assert sum(field.hidden for field in found.fields) <= 1


@given(LINES, CHANGES, st.booleans())
def test_changed_header_is_a_header(
    lines: bytes,
    changes: list[HeaderChange],
    leading_space: bool,  # noqa: FBT001 -- drawn
) -> None:
    fields = header_fields.split(lines, OWN).fields
    after = new_header.changed(fields, changes, leading_space=leading_space)
    again = header_fields.split(header_fields.written(after), OWN)
    assert [f.name for f in again.fields] == [f.name for f in after]
    assert again.body_at == len(header_fields.written(after))
    # Our own line is never lost.
    assert [f for f in after if f.hidden] == [f for f in fields if f.hidden]


def field(line: bytes) -> MilterField:
    (found,) = header_fields.split(line, OWN).fields
    return found


@pytest.mark.parametrize(
    ("line", "leading", "plain"),
    [
        (b"A: b\r\n", b" b", b"b"),
        (b"A:  b \r\n", b"  b ", b" b "),
        (b"A:b\r\n", b"b", b"b"),
        (b"A:\tb\r\n", b"\tb", b"\tb"),
        (b"A:\r\n b\r\n", b"\n b", b"\n b"),
        (b"A: b\r\n\tc\r\n", b" b\n\tc", b"b\n\tc"),
        (b"A:\r\n", b"", b""),
    ],
)
def test_value_for_a_milter(line: bytes, leading: bytes, plain: bytes) -> None:
    assert field(line).value(leading_space=True) == leading
    assert field(line).value(leading_space=False) == plain


def test_offer_is_version_6_with_everything() -> None:
    assert negotiation.offer() == b"\0\0\0\x0dO" + struct.pack("!LLL", 6, 0x1FF, 0x1FFFFF)
