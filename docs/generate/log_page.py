"""The table of events in ``docs/logs.md``, from the classes in ``events``."""

import inspect
from collections.abc import Iterator
from pathlib import Path

from emailrelay import events
from emailrelay.events import Event, MailEvent

ROOT = Path(__file__).parents[2]
BEGIN = "<!-- Made by `make docs` from the classes in events.py. -->"
END = "<!-- End of the generated table. -->"


def page() -> str:
    """Return the page: the text around the two marks as it stands, a new table between them."""
    text = (ROOT / "docs/logs.md").read_text("utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"docs/logs.md needs the lines {BEGIN!r} and {END!r}")
    table = "".join(_rows())
    head = "| event | level | fields of its own | meaning |\n|---|---|---|---|\n"
    return f"{before}{BEGIN}\n\n{head}{table}\n{END}{after}"


def kinds() -> Iterator[type[Event]]:
    """Yield the kinds of events in the order of their declarations."""
    for kind in vars(events).values():
        if inspect.isclass(kind) and issubclass(kind, Event) and kind not in (Event, MailEvent):
            yield kind


def _rows() -> Iterator[str]:
    for kind in kinds():
        about = issubclass(kind, MailEvent)
        own = [name for name in kind.fields if not (about and name in MailEvent.fields)]
        fields = ", ".join([*(f"`{name}`" for name in own), *(["*message*"] if about else [])])
        yield f"| `{kind.name}` | {kind.level} | {fields} | {_meaning(kind)} |\n"


def _meaning(kind: type[Event]) -> str:
    first = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    return " ".join(first.split()).replace("``", "`").replace("|", "\\|")
