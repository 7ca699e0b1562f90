"""Ids sort by arrival, never repeat, and convert to UUIDs."""

from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds, arrival, arrived_at
from emailrelay.queue_uuid import from_uuid, to_uuid

PROCESSES = st.integers(0, 2**PROCESS_BITS - 1)
TIMES = st.floats(0, 1e11, allow_nan=False)


@given(PROCESSES, st.lists(TIMES, min_size=2))
def test_ids_of_a_process_sort_by_arrival_whatever_its_clock_does(
    process: int, times: list[float]
) -> None:
    ids = QueueIds(process)
    given_out = [to_uuid(ids.next(now)) for now in times]
    assert given_out == sorted(set(given_out))


@given(PROCESSES, PROCESSES, TIMES)
def test_ids_of_two_processes_differ(one: int, other: int, now: float) -> None:
    if one != other:
        assert QueueIds(one).next(now) != QueueIds(other).next(now)


@given(PROCESSES, PROCESSES, TIMES, st.floats(0.002, 1e6))
def test_later_id_sorts_behind_an_earlier_one_of_another_process(
    one: int, other: int, now: float, pause: float
) -> None:
    assert to_uuid(QueueIds(one).next(now)) < to_uuid(QueueIds(other).next(now + pause))


@given(PROCESSES, TIMES, st.integers(0, 2**32 - 2))
def test_id_and_uuid_are_the_same_number(process: int, now: float, count: int) -> None:
    message = QueueIds(process, count).next(now)
    uuid = to_uuid(message)
    assert from_uuid(uuid) == message
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert uuid.int >> 80 == int(now * 1000)


def test_example_of_the_rfc() -> None:
    # RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC, rand_a CC3, rand_b 18C4DC0C0C07398F
    uuid = UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert to_uuid(from_uuid(uuid)) == uuid
    assert from_uuid(uuid).startswith("1645557742000.")


@pytest.mark.parametrize("first", [1, 2, 3])
def test_count_begins_at_one(first: int) -> None:
    ids = QueueIds(7)
    assert [ids.next(1.0) for _ in range(first)][-1] == f"1000.7.{first}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1.2", "1.2.3.4", "a.2.3", "1.-2.3", "1.2.3\n", " 1.2.3", "१.2.3"),
        *("01.2.3", "1.02.3", "1.2.03", "00.0.0"),  # each UUID has one id
        *(f"{2**48}.1.1", f"1.{2**PROCESS_BITS}.1", f"1.1.{2**32}"),
    ],
)
def test_name_that_is_no_id_of_ours_has_no_uuid(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        to_uuid(QueueId(text))


def test_name_with_a_very_long_number_has_no_time_and_sorts_first() -> None:
    long = QueueId(f"{'9' * 5000}.1.1")
    assert arrived_at(long) is None
    assert min(QueueId("1795347486274.1.1"), long, key=arrival) == long
