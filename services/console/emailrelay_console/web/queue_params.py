"""The selection of the queue in the query of an address, in a form, and back."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from emailrelay.queue.grouping import Grouping
from emailrelay.queue.selection import parse_age
from emailrelay.queue.state import State
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.queue_index import Order
from emailrelay_console.web.problem import Problem

_E = TypeVar("_E", bound=StrEnum)
_LONGEST = 500
"""Characters of a value."""
SELECTION_NAMES = ("state", "address", "sender", "recipient", "reply", "route", "older", "newer")


class QueueParams(NamedTuple):
    """A view of the queue."""

    wanted: PageSelection
    words: Mapping[str, str]
    """The selection as it was written."""
    order: Order = Order.OLDEST
    by: Grouping | None = None
    page: int = 1

    def query(self, **changed: object) -> str:
        """Return the query of this view with some other values; an empty value leaves one out."""
        values = {
            **self.words,
            "order": "" if self.order is Order.OLDEST else self.order.value,
            "by": "" if self.by is None else self.by.value,
            **{name: str(value) for name, value in changed.items()},
        }
        found = {name: value for name, value in values.items() if value}
        return f"/queue?{urlencode(found)}" if found else "/queue"


def read_selection(values: Mapping[str, str]) -> tuple[PageSelection, dict[str, str]]:
    """Return a selection, and the words that it was made of.

    Raises:
        Problem: a value is wrong; the text says which.

    """
    words = {
        name: _text(name, values[name]) for name in SELECTION_NAMES if values.get(name, "").strip()
    }
    wanted = PageSelection(
        states=frozenset(_choice(State, "state", each) for each in _split(words.get("state", ""))),
        address=words.get("address", ""),
        sender=words.get("sender", ""),
        recipient=words.get("recipient", ""),
        reply=words.get("reply", ""),
        route=words.get("route", ""),
        older=read_age("older", words.get("older", "")),
        newer=read_age("newer", words.get("newer", "")),
    )
    return wanted, words


def read_params(values: Mapping[str, str]) -> QueueParams:
    """Return the view of the queue that a query names.

    Raises:
        Problem: a value is wrong; the text says which.

    """
    wanted, words = read_selection(values)
    by, page = values.get("by", ""), values.get("page", "1")
    if not (page.isascii() and page.isdecimal() and 0 < len(page) < 9 and int(page)):
        raise Problem(400, "page must be 1 or more.")
    return QueueParams(
        wanted,
        words,
        _choice(Order, "order", values.get("order", "") or Order.OLDEST),
        _choice(Grouping, "by", by) if by else None,
        int(page),
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _text(name: str, value: str) -> str:
    text = value.strip().encode(errors="replace").decode()
    if len(text) > _LONGEST:
        raise Problem(400, f"{name} has at most {_LONGEST} characters.")
    return text


def _choice(kind: type[_E], name: str, value: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise Problem(400, f"{name} must be one of {', '.join(kind)}.") from None


def read_age(name: str, value: str) -> float | None:
    """Return an age in seconds; None: the value is empty.

    Raises:
        Problem: the value is not an age; the text names it.

    """
    try:
        return parse_age(value) if value else None
    except ValueError:
        raise Problem(400, f"{name} must be an age, as in 90s, 15m, 12h, 5d or 2w.") from None
