"""Text in the columns of a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.terminal.columns import aligned, cells, cut, padded


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("für", 3), ("李白", 4), ("e\u0301", 1), ("a\u200db", 2)],
)
def test_columns_of_a_text(text: str, width: int) -> None:
    assert cells(text) == width


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 10, "short"),
        ("exactly", 7, "exactly"),
        ("too long", 5, "too …"),
        ("李白李白", 5, "李白…"),
        ("李白李白", 4, "李…"),
        ("any", None, "any"),
        ("long", 1, "…"),
        ("long", 0, ""),
    ],
)
def test_long_text_is_cut_with_an_ellipsis(text: str, width: int | None, shown: str) -> None:
    assert cut(text, width, "…") == shown


@given(st.text(), st.integers(min_value=0, max_value=100), st.sampled_from(["…", "..."]))
def test_cut_text_never_exceeds_its_width(text: str, width: int, ellipsis: str) -> None:
    assert cells(cut(text, width, ellipsis)) <= width


def test_tables_are_aligned_by_columns_not_characters() -> None:
    rows = [("Name", "N"), ("李", "10"), ("b", "9")]
    assert list(aligned(rows, right=frozenset({1}))) == ["Name   N", "李    10", "b      9"]
    assert padded("x", 3, right=True) == "  x"
