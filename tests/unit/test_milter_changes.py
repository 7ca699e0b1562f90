"""A milter's changes of header and envelope: their results, and the work that they take."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.envelope import Address, Envelope
from emailrelay.filters.milter import new_envelope, new_header
from emailrelay.filters.milter.header_fields import MilterField
from emailrelay.filters.milter.packets import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    EnvelopeChange,
    HeaderChange,
    InsertHeader,
    RemoveRecipient,
)

NAMES = st.sampled_from([b"A", b"a", b"B"])
VALUES = st.sampled_from([b"", b"1", b"2"])
FIELDS = st.lists(
    st.builds(MilterField, NAMES, st.sampled_from([b"A: 3\r\n", b"A: 4\r\n"]), st.booleans()),
    max_size=12,
)
HEADER_CHANGES: st.SearchStrategy[list[HeaderChange]] = st.lists(
    st.one_of(
        st.builds(AddHeader, NAMES, VALUES),
        st.builds(InsertHeader, st.integers(0, 16), NAMES, VALUES),
        st.builds(ChangeHeader, st.integers(0, 6), NAMES, VALUES),
    ),
    max_size=12,
)
ADDRESSES = st.sampled_from([b"<a@x>", b"<b@x>", b"<c@x>"])
ENVELOPE_CHANGES: st.SearchStrategy[list[EnvelopeChange]] = st.lists(
    st.one_of(
        st.builds(AddRecipient, ADDRESSES),
        st.builds(RemoveRecipient, ADDRESSES),
        st.builds(ChangeSender, ADDRESSES),
    ),
    max_size=8,
)
RECIPIENTS = st.lists(st.sampled_from(["a@x", "b@x"]).map(Address), max_size=3).map(tuple)


def plainly(fields: Sequence[MilterField], changes: Sequence[HeaderChange]) -> list[MilterField]:
    """Make the changes in a simple list."""
    made = list(fields)
    for change in changes:
        new = MilterField(change.name, change.name + b": " + change.value + b"\r\n")
        match change:
            case AddHeader():
                made.append(new)
            case InsertHeader():
                made.insert(change.index, new)
            case ChangeHeader():
                name = change.name.lower()
                own = [n for n, f in enumerate(made) if f.name.lower() == name and not f.hidden]
                at = max(change.number, 1) - 1
                if at < len(own):
                    made[own[at] : own[at] + 1] = [new] if change.value else []
                elif change.value:
                    made.append(new)
    return made


@pytest.mark.parametrize("block", [1, 2, 3, 512])
@given(fields=FIELDS, changes=HEADER_CHANGES)
def test_changes_of_a_header_are_those_of_a_simple_list(
    block: int, fields: list[MilterField], changes: list[HeaderChange]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_header, "_BLOCK", block)
        found = new_header.changed(fields, changes, leading_space=False)
    assert list(found) == plainly(fields, changes)


class CountedName(bytes):
    """The name of a field that counts how often it is read."""

    reads = 0

    def lower(self) -> bytes:
        CountedName.reads += 1
        return super().lower()


def test_thousands_of_removed_fields_do_not_cost_a_look_at_all_fields_each() -> None:
    fields = [MilterField(CountedName(b"X"), b"X: %d\r\n" % n) for n in range(5000)]
    removals = [ChangeHeader(number, b"X", b"") for number in range(2000, 0, -1)]
    CountedName.reads = 0
    assert list(new_header.changed(fields, removals, leading_space=False)) == fields[2000:]
    assert CountedName.reads <= 2 * len(fields)


def one_by_one(envelope: Envelope, changes: Sequence[EnvelopeChange]) -> Envelope:
    """Make the changes in copies of an envelope."""
    for change in changes:
        address = Address(change.address.decode().strip("<>"))
        match change:
            case AddRecipient():
                if address not in envelope.recipients:
                    envelope = envelope._replace(to_remote=(*envelope.to_remote, address))
            case RemoveRecipient():
                envelope = new_envelope.without(envelope, (address,))
            case ChangeSender():
                envelope = envelope._replace(sender=address)
    return envelope


@given(RECIPIENTS, RECIPIENTS, ENVELOPE_CHANGES)
def test_changes_of_an_envelope_are_those_made_one_by_one(
    local: tuple[Address, ...], remote: tuple[Address, ...], changes: list[EnvelopeChange]
) -> None:
    envelope = Envelope(Address("s@x"), local, remote)
    assert new_envelope.changed(envelope, changes) == one_by_one(envelope, changes)


class CountedAddress(str):
    """An address that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountedAddress.comparisons += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def test_thousands_of_added_recipients_are_not_compared_with_each_other() -> None:
    before = tuple(Address(CountedAddress(f"r{n}@x")) for n in range(1000))
    added = [AddRecipient(b"<a%d@x>" % n) for n in range(1000)]
    CountedAddress.comparisons = 0
    after = new_envelope.changed(Envelope(Address("s@x"), to_remote=before), added)
    assert CountedAddress.comparisons < 10_000
    assert len(after.recipients) == 2000
