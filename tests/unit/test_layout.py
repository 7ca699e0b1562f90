"""docs/layout.md names every module of the product once, and no file that does not exist."""

import re
from collections.abc import Iterator

from docs.generate.layout import BEGIN, ROOT

PAGE = (ROOT / "docs/layout.md").read_text("utf-8")
PRODUCT = [path for top in ("shared", "services") for path in (ROOT / top).rglob("*.py")]
FOLDER = re.compile(r"### `(.+/)`")
ROW = re.compile(r"\| `(\w+)` \| .+ \|")


def named_in_tables() -> Iterator[str]:
    folder = ""
    for line in PAGE.partition(BEGIN)[2].splitlines():
        if heading := FOLDER.fullmatch(line):
            folder = heading[1]
            yield f"{folder}__init__.py"
        elif row := ROW.fullmatch(line):
            yield f"{folder}{row[1]}.py"


def test_each_module_is_named_once_and_no_other() -> None:
    there = sorted(path.relative_to(ROOT).as_posix() for path in PRODUCT)
    assert len(there) > 200
    assert sorted(named_in_tables()) == there, "run: make docs"


def test_each_file_and_folder_that_the_text_names_is_there() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*") if path.is_file()}
    for top in ("shared", "services", "tests", "bench", "deploy", "docs"):
        files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / top).rglob("*.*")}
    folders = {f"{name.rpartition('/')[0]}/" for name in files}
    named = set(re.findall(r"`([\w/.-]+(?:\.\w+|/))`", PAGE.partition(BEGIN)[0]))
    assert len(named) > 40
    missing = {
        name
        for name in named
        if not any(f"/{one}".endswith(f"/{name}") for one in files | folders)
        and not any(one.startswith(name) for one in folders)
    }
    assert missing == set()
