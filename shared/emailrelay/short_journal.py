"""Shortens a long journal to fewer lines with the same history.

The last line of each kind keeps its place. One line before the last attempt holds the results of
all earlier attempts, each recipient once. Lines of other programs stay, before the others.
"""

from collections.abc import Iterable, Iterator

from emailrelay import journal, journal_format
from emailrelay.journal import Attempt, Doubted, Entry, History, Moving

_REASON = b"X-MailRelay-Reason"
"""The beginnings of the two lines that are written with ``Failed``."""


def shorten(lines: Iterable[bytes]) -> bytes | None:
    """Return the octets of a shorter journal with the same history as ``lines``.

    ``lines`` are those after the envelope's end mark, without CRLF; they may be more than fit into
    memory. None: this journal cannot be made shorter.
    """
    last, others = dict[tuple[str, str], Entry](), list[bytes]()
    history = journal.read(_sorted_out(lines, last, others))
    entries = list(_told(history, last.values()))
    if journal.read(entries) != history:
        return None
    return b"".join(others) + b"".join(map(journal_format.write, entries))


def _sorted_out(
    lines: Iterable[bytes], last: dict[tuple[str, str], Entry], others: list[bytes]
) -> Iterator[Entry]:
    """Yield the entries; note the last of each kind, and the lines of other programs."""
    for line in lines:
        entry = journal_format.parse_line(line)
        if entry is not None:
            kind = type(entry).__name__, _which(entry)
            last.pop(kind, None)  # at the place of its last line
            last[kind] = entry
            yield entry
        elif line and not line.startswith(_REASON):
            others.append(line + b"\r\n")


def _which(entry: Entry) -> str:
    """Return which lines of a kind count as one; one of each stays."""
    match entry:
        case Doubted():
            return entry.peer
        case Moving():
            return "came" if entry.origin else "goes"
        case _:
            return ""


def _told(history: History, last: Iterable[Entry]) -> Iterable[Entry]:
    for entry in last:
        if isinstance(entry, Attempt):
            yield _earlier(history, entry)
        yield entry


def _earlier(history: History, last: Attempt) -> Attempt:
    """Return one attempt that replaces all before the last one."""
    began = history.started_at if history.accepted_at is None else None
    return Attempt(
        at=last.at if began is None else began,
        peer="",
        replies={**history.refused, **history.delivered},
        tries=max(0, history.attempts - last.tries),
    )
