"""The journal of a moved message tells the same history as the one that it left."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from emailrelay import journal, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address
from emailrelay.journal import (
    Attempt,
    Doubted,
    Entry,
    Failure,
    Filtered,
    Flushed,
    Held,
    Moving,
    Notified,
    Released,
)
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store import moved_journal

TIMES = st.floats(1.0, 2e9)
REPLIES = st.sampled_from([Reply(250, "ok"), Reply(451, "later"), Reply(550, "no")])
ADDRESSES = st.sampled_from([Address(f"{name}@x.test") for name in "abc"])
ENTRIES = st.one_of(
    st.builds(
        Attempt,
        at=TIMES,
        peer=st.just("s:25"),
        replies=st.dictionaries(ADDRESSES, REPLIES),
        next_attempt=st.none() | TIMES,
    ),
    st.builds(Filtered, at=TIMES, length=st.just(5), crc32=st.just(7)),
    st.builds(Failure, at=TIMES, stage=st.just(Stage.READY), reason=REPLIES),
    st.builds(Held, at=TIMES, stage=st.just(Stage.READY)),
    st.builds(Released, at=TIMES),
    st.builds(Flushed, at=TIMES),
    st.builds(Doubted, at=TIMES, peer=st.sampled_from(["p", "q"])),
    st.builds(Notified, at=TIMES),
)
MOVING = Moving(at=9.0, stage=Stage.READY, origin="here")


def settled(addresses: dict[Address, Reply]) -> dict[Address, Reply]:
    return dict(sorted(addresses.items()))


@given(st.lists(ENTRIES, max_size=8), st.sampled_from([Stage.READY, Stage.UNFILTERED]))
def test_history_is_the_same_after_a_move(lines: list[Entry], stage: Stage) -> None:
    accepted = Accepted(at=1.0, stage=stage, length=5, crc32=7)
    before = journal.read([accepted, *lines])
    written = b"".join(
        journal_format.write(entry)
        for entry in moved_journal.entries(before, length=5, crc32=7, moving=MOVING)
    )
    after = journal_format.history(written)
    assert (after.moving, after.origin) == (MOVING, MOVING.origin)
    for name in before._fields:
        if name not in {"moving", "origin", "last_attempt"}:
            assert getattr(after, name) == getattr(before, name), name
    if before.last_attempt is None:
        assert after.last_attempt is None
    else:
        assert after.last_attempt is not None
        assert replace(after.last_attempt, replies={}, tries=0) == replace(
            before.last_attempt, replies={}, tries=0
        )
