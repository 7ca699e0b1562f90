"""The tables of events in ``docs/logs.md``, from the modules in ``events``."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from emailrelay import events
from emailrelay.events.event import Event
from emailrelay.events.mail_event import MailEvent

ROOT = Path(__file__).parents[2]
BEGIN = "<!-- Made by `make docs` from the classes in events/. -->"
END = "<!-- End of the generated tables. -->"


def page() -> str:
    """Return the page: the text around the two marks as it stands, new tables between them."""
    text = (ROOT / "docs/logs.md").read_text("utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"docs/logs.md needs the lines {BEGIN!r} and {END!r}")
    return "".join([before, BEGIN, "\n", *_sections(), "\n", END, after])


def kinds() -> Iterator[type[Event]]:
    """Yield the kinds of events, by module and in the order of their declarations."""
    for _, of_module in _modules():
        yield from of_module


def _modules() -> Iterator[tuple[str, list[type[Event]]]]:
    """Yield the first line of each module that has kinds of events, and these."""
    for found in iter_modules(events.__path__):
        module = import_module(f"{events.__name__}.{found.name}")
        own = [
            kind
            for kind in vars(module).values()
            if inspect.isclass(kind) and issubclass(kind, Event)
            if kind.__module__ == module.__name__ and kind not in (Event, MailEvent)
        ]
        if own:
            yield (module.__doc__ or "").partition("\n")[0], own


def _sections() -> Iterator[str]:
    for title, of_module in _modules():
        subject = title.removeprefix("The events of ").rstrip(".")
        yield f"\n### {subject[0].upper()}{subject[1:]}\n\n"
        yield "| event | level | fields of its own | meaning |\n|---|---|---|---|\n"
        yield from map(_row, of_module)


def _row(kind: type[Event]) -> str:
    about = issubclass(kind, MailEvent)
    own = [name for name in kind.fields if not (about and name in MailEvent.fields)]
    fields = ", ".join([*(f"`{name}`" for name in own), *(["*message*"] if about else [])])
    return f"| `{kind.name}` | {kind.level} | {fields} | {_meaning(kind)} |\n"


def _meaning(kind: type[Event]) -> str:
    first = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    return " ".join(first.split()).replace("``", "`").replace("|", "\\|")
