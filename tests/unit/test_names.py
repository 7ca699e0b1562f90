"""Each public type has a name of its own, and each module a first line that describes it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted(path for top in ("shared", "services") for path in (ROOT / top).rglob("*.py"))
QUESTION = re.compile(r"(?:What|Whether|Who|Whom|Whose|How|Which|When|Where|Why)\b")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def public_types(path: Path) -> Iterator[str]:
    """Give the public classes, aliases and NewTypes at the top level of a module."""
    for node in parsed(path).body:
        match node:
            case ast.ClassDef(name=name):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id="TypeAlias")):
                pass
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="NewType"))
            ):
                pass
            case _:
                continue
        if not name.startswith("_"):
            yield name


def test_each_public_type_has_a_name_of_its_own() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in PRODUCT:
        for name in public_types(path):
            places[name].append(path.relative_to(ROOT).as_posix())
    assert {"Address", "Claim", "Event", "Filter", "QueueId"} <= set(places)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_first_line_of_a_module_is_one_short_sentence(path: Path) -> None:
    first = (ast.get_docstring(parsed(path)) or "").partition("\n")[0]
    assert first.endswith("."), first
    assert ". " not in first, first
    assert len(first) <= 100, first
    assert not QUESTION.match(first), first
