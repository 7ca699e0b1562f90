"""A service may open as many files as it is permitted."""

import resource

import pytest

from emailrelay.descriptor_limit import raise_limit

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "most", "becomes"),
    [
        (1024, 524_288, None, 524_288),
        (1024, 524_288, 65_536, 65_536),
        (1024, 4096, 65_536, 4096),
        (1024, UNLIMITED, 65_536, 65_536),
        (100_000, 524_288, 65_536, 100_000),
        (UNLIMITED, UNLIMITED, 65_536, UNLIMITED),
    ],
)
def test_limit_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int | None, becomes: int
) -> None:
    now = [(soft, hard)]

    def get(_which: int) -> tuple[int, int]:
        return now[-1]

    def put(_which: int, pair: tuple[int, int]) -> None:
        now.append(pair)

    monkeypatch.setattr(resource, "getrlimit", get)
    monkeypatch.setattr(resource, "setrlimit", put)
    raise_limit(most)
    assert now[-1] == (becomes, hard)
