"""Every test that docs/security.md names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
SHORT = re.compile(r"`([A-Z])` stands for\s+`(tests/[^`]+)`")
NAMED = re.compile(r"`([^`\s]+)::(test_\w+)`")


def test_each_claim_names_a_test_that_is_there() -> None:
    places = dict(SHORT.findall(PAGE))
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    missing = [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in _source(file, places)
    ]
    assert missing == []


def test_each_row_of_claims_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 3]
    claims = [row for row in rows if row.split("|")[1].strip().endswith(".")]
    assert len(claims) > 30
    assert [row for row in claims if not NAMED.search(row)] == []


def _source(file: str, places: dict[str, str]) -> str:
    path = ROOT / (file if file.startswith("tests/") else places[file[0]] + file[1:])
    return path.read_text() if path.is_file() else ""
