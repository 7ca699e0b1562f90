"""A worker that stands by leaves clients to others as long as these have few sessions."""

import pytest

from emailrelay import linux
from emailrelay_receiver.seat import SessionCounts, seat


@pytest.mark.parametrize(
    ("processors", "stands_by"),
    [
        (1, [False, True, True, True]),
        (2, [False, True, True, True]),
        (4, [False, False, True, True]),
        (8, [False] * 4),
    ],
)
def test_half_of_the_processors_have_a_worker_that_accepts_at_once(
    processors: int, stands_by: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    _have(monkeypatch, processors)
    counts = SessionCounts(4)
    seats = [seat(counts, place) for place in range(4)]
    assert [each.stands_by for each in seats] == stands_by


@pytest.mark.parametrize(
    ("most", "sessions", "few"), [(100, 23, True), (100, 24, False), (10, 4, True), (10, 5, False)]
)
@pytest.mark.usefixtures("two_processors")
def test_clients_are_left_to_a_worker_with_few_sessions(
    most: int, sessions: int, *, few: bool
) -> None:
    counts = SessionCounts(2)
    first, second = (seat(counts, place) for place in range(2))
    first.note(sessions)
    second.note(1000)
    assert second.leaves_clients(most) is few


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    _have(monkeypatch, 2)


def _have(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(linux, "processors", lambda: processors)
