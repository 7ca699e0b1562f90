"""The pages on decisions: dated, short, and all in the index."""

import re
from pathlib import Path

import pytest

DECISIONS = Path(__file__).parents[2] / "docs" / "decisions"
PAGES = sorted(page for page in DECISIONS.glob("*.md") if page.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_is_dated_and_short(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert re.fullmatch(r"Decided 20\d\d-\d\d-\d\d\.", lines[2])
    assert len(lines) <= 30


def test_index_has_each_page_with_its_date_and_title() -> None:
    rows = re.findall(
        r"^\| (\S+) \| \[(.+)\]\((.+)\) \|$", (DECISIONS / "README.md").read_text(), re.MULTILINE
    )
    expected: list[tuple[str, str, str]] = []
    for page in PAGES:
        title, _, date = page.read_text().splitlines()[:3]
        expected.append((date.split()[1].rstrip("."), title.removeprefix("# "), page.name))
    assert sorted(rows) == sorted(expected)
