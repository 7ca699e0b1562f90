"""The module tables of ``docs/layout.md``, from the first line of each module's docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "shared/emailrelay",
    "services/receiver/emailrelay_receiver",
    "services/filterd/emailrelay_filterd",
    "services/forwarder/emailrelay_forwarder",
    "services/monitor/emailrelay_monitor",
    "services/console/emailrelay_console",
)
BEGIN = "<!-- Made by `make docs` from the docstrings of the modules. -->"
END = "<!-- End of the generated tables. -->"


def page() -> str:
    """Return the page: the text around the two marks as it stands, new tables between them."""
    text = (ROOT / "docs/layout.md").read_text("utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"docs/layout.md needs the lines {BEGIN!r} and {END!r}")
    return "".join([before, BEGIN, "\n", *_sections(), "\n", END, after])


def _sections() -> Iterator[str]:
    for package in PACKAGES:
        for init in sorted((ROOT / package).rglob("__init__.py")):
            yield _section(init.parent)


def _section(folder: Path) -> str:
    name = folder.relative_to(ROOT).as_posix()
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    rows = [f"| `{path.stem}` | {first_line(path)} |\n" for path in modules]
    table = ["\n| module | what it does |\n|---|---|\n", *rows] if rows else []
    return "".join([f"\n### `{name}/`\n\n{first_line(folder / '__init__.py')}\n", *table])


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring, written for Markdown."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.partition("\n")[0].replace("``", "`").replace("|", "\\|")
