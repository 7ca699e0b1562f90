"""Shortens a long journal to fewer lines with the same history.

The last line of each kind keeps its place. One line before the last attempt holds the results of
all earlier attempts, each recipient once. Lines of other programs stay, before the others.
"""

from collections.abc import Iterable

from emailrelay import journal, journal_format
from emailrelay.journal import Attempt, Doubted, Entry, History

_REASON = b"X-MailRelay-Reason"
"""The beginnings of the two lines that are written with ``Failed``."""


def shorten(lines: Iterable[bytes]) -> bytes | None:
    """Return the octets of a shorter journal with the same history as ``lines``.

    ``lines`` are those after the envelope's end mark, without CRLF; they may be more than fit into
    memory. None: this journal cannot be made shorter.
    """
    history, last, others = History(), dict[tuple[str, str], Entry](), list[bytes]()
    for line in lines:
        entry = journal_format.parse_line(line)
        if entry is not None:
            history = journal.after(history, entry)
            kind = type(entry).__name__, entry.peer if isinstance(entry, Doubted) else ""
            last.pop(kind, None)  # at the place of its last line
            last[kind] = entry
        elif line and not line.startswith(_REASON):
            others.append(line + b"\r\n")
    told = list(_told(history, last.values()))
    if journal.read(told) != history:
        return None
    return b"".join(others) + b"".join(map(journal_format.write, told))


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
