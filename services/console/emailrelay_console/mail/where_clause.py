"""The conditions of a selection in SQL, for the index of the queue."""

from collections.abc import Mapping
from types import MappingProxyType

from emailrelay.queue.pattern import bare
from emailrelay.queue.reply_group import VARYING
from emailrelay.queue.state import State
from emailrelay.schedule import FARTHEST
from emailrelay.wildcards import glob
from emailrelay_console.mail.page_selection import PageSelection, whole_pattern

STATE = (
    "case when stage in ('unfiltered', 'ready') and next > :now and next <= :farthest"
    " then 'deferred' else stage end"
)
"""The state of a message (``queue.state``)."""
_LATER = "next > :now and next <= :farthest"
_AT_ONCE = "(next <= :now or next > :farthest)"
STATES: Mapping[State, str] = MappingProxyType(
    {
        State.UNFILTERED: f"stage = 'unfiltered' and {_AT_ONCE}",
        State.READY: f"stage = 'ready' and {_AT_ONCE}",
        State.DEFERRED: f"stage in ('unfiltered', 'ready') and {_LATER}",
        State.HELD: "stage = 'held'",
        State.FAILED: "stage = 'failed'",
    }
)
"""The conditions of each state, for which an index serves."""
_TERM = "{} in (select n from term where text glob :{})"
_LINES = "'\n' || text || '\n' glob"


def times(now: float) -> dict[str, object]:
    """Return the values that ``STATE`` needs."""
    return {"now": now, "farthest": now + FARTHEST}


def where_clause(wanted: PageSelection, now: float) -> tuple[str, dict[str, object]]:
    """Return the condition in SQL, and its values."""
    values, said = times(now), list[str]()
    if wanted.states:
        said.append(f"({' or '.join(f'({STATES[state]})' for state in sorted(wanted.states))})")
    for name, limit, sign in (
        ("older", wanted.older, "<="),
        ("newer", wanted.newer, ">="),
    ):
        if limit is not None:
            said.append(f"arrived {sign} :{name}")
            values[name] = now - limit
    if wanted.until is not None:
        said.append("arrived <= :until")
        values["until"] = wanted.until
    if wanted.address:
        said.append(f"({_TERM.format('sender', 'address')} or recipients glob :addresses)")
        values["address"] = _one(wanted.address)
        values["addresses"] = _one_of(wanted.address)
    if wanted.sender:
        said.append(_TERM.format("sender", "sender"))
        values["sender"] = _one(wanted.sender)
    if wanted.recipient:
        said.append("recipients glob :recipient")
        values["recipient"] = _one_of(wanted.recipient)
    if wanted.route:
        said.append(_TERM.format("routes", "route").replace("text glob", _LINES))
        values["route"] = f"*\n{_literal(wanted.route)}\n*"
    if wanted.reply:
        said.append(_TERM.format("reply", "reply").replace("text glob", "lower(text) glob"))
        values["reply"] = _in_reply(wanted.reply)
    return (f"where {' and '.join(said)}" if said else ""), values


def _one(pattern: str) -> str:
    """Return the pattern for a sender."""
    return _bare(whole_pattern(pattern))


def _one_of(pattern: str) -> str:
    """Return the pattern for one of several addresses, each of which stands between line ends."""
    whole = whole_pattern(pattern)
    return _bare(whole) if whole == f"*{pattern}*" else f"*\n{_bare(whole)}\n*"


def _bare(pattern: str) -> str:
    return glob(bare(pattern).lower())


def _in_reply(pattern: str) -> str:
    literal = glob(pattern.lower())
    for sign in (VARYING, "..."):
        literal = literal.replace(sign, "*")
    return f"*{literal}*"


def _literal(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)
