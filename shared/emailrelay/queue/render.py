"""Lists of messages for people: at any width of the terminal, and complete for files and pipes."""

from collections.abc import Iterator, Mapping, Sequence

from emailrelay.printable import printable
from emailrelay.queue.grouping import MessageGroup
from emailrelay.queue.reply_group import VARYING
from emailrelay.queue.row import QueueRow
from emailrelay.queue.state import State
from emailrelay.queue.totals import Totals
from emailrelay.terminal.columns import GAP, aligned, cells, cut, padded, widths
from emailrelay.terminal.human import ago, ahead, octets, when
from emailrelay.terminal.window import Window

_COLOURS = {
    State.UNFILTERED: 36,
    State.READY: 32,
    State.DEFERRED: 33,
    State.HELD: 35,
    State.FAILED: 31,
}
_HEADINGS = ("ID", "State", "Arrived", "Size", "Next try")
_TEXT_HEADINGS = ("From", "To", "Last reply")
_LEAST_TEXT = 16
"""Columns for each text in a table; a narrower terminal gets several lines for each message."""
_SHARES = (1, 1, 2)
_INDENT = "  "


def rows_wide(rows: Sequence[QueueRow]) -> Iterator[str]:
    """Yield a table with a line for each message, in which nothing is cut; times are exact."""
    right = frozenset({3, 4})
    headings = ("ID", "State", "Arrived", "Octets", "Tries", "Next try", *_TEXT_HEADINGS)
    table = [headings] + [
        (
            each.id,
            each.state.value,
            when(each.arrived),
            str(each.size),
            str(each.attempts),
            "" if each.next_attempt is None else when(each.next_attempt),
            _sender(each),
            _recipients(each),
            printable(each.last_reply),
        )
        for each in rows
    ]
    yield from aligned(table, right=right)


def rows_on(window: Window, rows: Sequence[QueueRow], now: float) -> Iterator[str]:
    """Yield a list of messages that fits a terminal; texts that are too long are cut."""
    width = window.width or 0
    facts = [_HEADINGS] + [
        (
            each.id,
            each.state.value,
            ago(now - each.arrived),
            octets(each.size),
            _next(each, now),
        )
        for each in rows
    ]
    texts = [_TEXT_HEADINGS, *((_sender(r), _recipients(r), _reply(r)) for r in rows)]
    wide, wanted = widths(facts), widths(texts)
    used = sum(wide) + len(GAP) * (len(wide) - 1)
    shares = _shares(wanted, width - used - len(GAP) * len(wanted))
    if all(share >= min(want, _LEAST_TEXT) for share, want in zip(shares, wanted, strict=True)):
        yield from _table(window, rows, facts, texts, [*wide, *shares])
    else:
        yield from _several_lines(window, rows, facts, wide, two_lines=used > width)


def _table(
    window: Window,
    rows: Sequence[QueueRow],
    facts: Sequence[Sequence[str]],
    texts: Sequence[Sequence[str]],
    sizes: Sequence[int],
) -> Iterator[str]:
    """Yield a line for each message: the facts and, in the rest of the line, the texts."""
    for place, (fact, text) in enumerate(zip(facts, texts, strict=True)):
        line = [
            padded(cut(one, size, window.ellipsis), size)
            for one, size in zip((*fact, *text), sizes, strict=True)
        ]
        yield _painted(window, line, rows[place - 1].state if place else None)


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Return the widths of the texts: as wide as wanted, or a share of the room if that is less."""
    given = dict[int, int]()
    room = max(room, 0)
    while len(given) < len(wanted):
        rest = [place for place in range(len(wanted)) if place not in given]
        whole = sum(_SHARES[place] for place in rest)
        shares = {place: room * _SHARES[place] // whole for place in rest}
        fits = {place: wanted[place] for place in rest if wanted[place] <= shares[place]}
        given |= fits or shares
        room -= sum(fits.values())
    return [given[place] for place in range(len(wanted))]


def _several_lines(
    window: Window,
    rows: Sequence[QueueRow],
    facts: Sequence[Sequence[str]],
    wide: Sequence[int],
    *,
    two_lines: bool,
) -> Iterator[str]:
    """Yield a few lines for each message: facts, addresses, and the last reply if there is one."""
    for place, fact in enumerate(facts):
        row = rows[place - 1] if place else None
        line = [padded(one, size) for one, size in zip(fact, wide, strict=True)]
        state = row.state if row else None
        if not two_lines:
            yield _painted(window, line, state)
        elif row is None:
            yield _painted(window, line[:2], None)
        else:
            yield _painted(window, line[:2], state)
            arrived, size, next_try = fact[2:]
            more = [arrived, f"next try {next_try}" if next_try != "-" else "", size]
            yield _cut(window, ", ".join(filter(None, more)))
        if row is not None:
            yield _cut(window, f"{_sender(row)} {window.arrow} {_recipients(row)}")
            if row.last_reply:
                yield _cut(window, _reply(row))


def _painted(window: Window, line: Sequence[str], state: State | None) -> str:
    """Return a line of columns; a heading (no state) is bold, and the state has its colour."""
    width = window.width or 0
    text = cut(GAP.join(line).rstrip(), width, window.ellipsis)
    if not window.colours:
        return text
    if state is None:
        return f"\x1b[1m{text}\x1b[0m"
    start = cells(line[0]) + len(GAP)
    end = start + len(state.value)
    return f"{text[:start]}\x1b[{_COLOURS[state]}m{text[start:end]}\x1b[0m{text[end:]}"


def _cut(window: Window, text: str) -> str:
    return cut(_INDENT + text, window.width, window.ellipsis)


def _sender(row: QueueRow) -> str:
    return printable("?" if row.sender is None else row.sender or "<>")


def _recipients(row: QueueRow) -> str:
    """Return the first recipient without a final reply, and the number of the others."""
    first = row.pending or row.recipients
    named = printable(first[0]) if first else "?"
    if len(row.recipients) < 2:
        return named
    return f"{named} ({len(row.pending)} of {len(row.recipients)} pending)"


def _reply(row: QueueRow) -> str:
    """Return the last reply, after the number of tries if there was more than one."""
    tries = f"{row.attempts} tries: " if row.attempts > 1 and row.last_reply else ""
    return tries + printable(row.last_reply)


def _next(row: QueueRow, now: float) -> str:
    if row.state in (State.HELD, State.FAILED):
        return "-"
    return ahead(0 if row.next_attempt is None else row.next_attempt - now)


def groups_on(window: Window, groups: Sequence[MessageGroup], now: float) -> Iterator[str]:
    """Yield a table of groups; texts that are too long for the terminal are cut.

    A narrow terminal gets fewer columns, and the text of each group on a line of its own.
    """
    facts = [("Messages", "Oldest", "Next try", "Size")] + [
        (
            f"{group.messages:,}",
            "" if group.oldest is None else ago(now - group.oldest),
            "" if group.next_attempt is None else ahead(group.next_attempt - now),
            octets(group.octets),
        )
        for group in groups
    ]
    names = [groups[0].by.value.capitalize()] if groups else []
    names += [printable(group.group) or "(no reply yet)" for group in groups]
    names = [name.replace(VARYING, window.ellipsis) for name in names]
    table = list(aligned([row[: _facts_that_fit(window, facts)] for row in facts], right=_NUMBERS))
    wide = max(map(cells, table)) + len(GAP)
    own_line = window.width is not None and window.width - wide < 2 * _LEAST_TEXT
    for place, (row, name) in enumerate(zip(table, names, strict=True)):
        if not own_line:
            yield cut(padded(row, wide) + name, window.width, window.ellipsis)
        else:
            yield row
            if place:
                yield _cut(window, name)


_NUMBERS = frozenset({0, 1, 2, 3})


def _facts_that_fit(window: Window, facts: Sequence[Sequence[str]]) -> int:
    """Return the number of columns that fit the terminal: at least one."""
    used = -len(GAP)
    for place, size in enumerate(widths(facts)):
        used += len(GAP) + size
        if window.width is not None and used > window.width:
            return max(place, 1)
    return len(facts[0])


def totals_on(window: Window, totals: Mapping[str, Totals], now: float) -> Iterator[str]:
    """Yield a table of the totals of each state; a narrow terminal gets fewer columns."""
    facts = [("State", "Messages", "Oldest", "Size")] + [
        (
            name,
            f"{total.messages:,}",
            "" if total.oldest is None else ago(now - total.oldest),
            octets(total.octets),
        )
        for name, total in totals.items()
    ]
    most = _facts_that_fit(window, facts)
    yield from aligned([row[:most] for row in facts], right=_NUMBERS - {0})
