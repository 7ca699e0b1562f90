"""Records of a spool's log are read back, and nothing else."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.durable import records
from emailrelay.store.spool.durable.records import BLOCK, Gone, Noted, Read, Record, Taken

MARK, OTHER = b"m" * 16, b"o" * 16
HEAD = 32
"""Octets of magic, mark, length and CRC-32."""

ids = st.from_regex(r"[0-9]{1,13}\.[0-9]{1,10}\.[0-9]{1,6}", fullmatch=True).map(QueueId)
octets = st.binary(max_size=3 * BLOCK)
some = st.one_of(
    st.builds(Taken, ids, st.sampled_from(Stage), octets, octets),
    st.builds(Noted, ids, st.sampled_from(Stage), octets),
    st.builds(Gone, ids),
)


def restored(read: Read, file: bytes) -> Record:
    if read.stage is None:
        return Gone(read.id)
    if read.content is None:
        return Noted(read.id, read.stage, read.envelope)
    content = file[read.offset : read.offset + read.content]
    return Taken(read.id, read.stage, read.envelope, content)


@given(st.lists(some, max_size=5), st.integers(min_value=0, max_value=3))
def test_records_come_back_as_they_were_written(written: list[Record], blocks: int) -> None:
    before = bytes(blocks * BLOCK)
    batch = records.batch(MARK, written)
    assert len(batch) % BLOCK == 0
    assert len(batch) == records.room(sum(map(records.size, written)))
    assert records.length_of_batch(MARK, batch[:BLOCK]) is not None
    found = records.read_batch(batch, len(before))
    assert found is not None
    assert [restored(read, before + batch) for read in found] == written


@given(st.lists(some, min_size=1, max_size=3), st.data())
def test_a_changed_octet_makes_a_batch_none(written: list[Record], data: st.DataObject) -> None:
    length = sum(map(records.size, written))
    batch = bytearray(records.batch(MARK, written))
    place = data.draw(st.integers(min_value=HEAD, max_value=HEAD + length - 1))
    batch[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    assert records.read_batch(bytes(batch), 0) is None


@given(st.lists(some, min_size=1, max_size=3), st.integers(min_value=1))
def test_a_batch_that_was_cut_is_none(written: list[Record], cut: int) -> None:
    length = sum(map(records.size, written))
    batch = records.batch(MARK, written)[: HEAD + length - 1 - cut % length]
    assert records.read_batch(batch, 0) is None


@pytest.mark.parametrize("block", [b"", b"EMRBATCH", bytes(BLOCK), b"x" * BLOCK])
def test_no_batch_begins_elsewhere(block: bytes) -> None:
    assert records.length_of_batch(MARK, block) is None


def test_a_batch_of_another_life_of_the_file_is_none() -> None:
    batch = records.batch(OTHER, [Gone(QueueId("1.2.3"))])
    assert records.length_of_batch(MARK, batch) is None
    assert records.length_of_batch(OTHER, batch) is not None
