"""The state of one process of a service, in its own words, for operators and the monitor.

It is written as JSON of bounded size. Texts in it may come from a peer: they are cut, and have no
control characters.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emailrelay.printable import printable

LARGEST = 16 * 1024
"""The most octets of a written state."""
_TEXT = 200
"""The most characters of a text."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """The sign-in of one OAuth2 account."""

    until: float | None = None
    """The end of the token that was used last (seconds since 1970); None: there is none."""
    trouble: str = ""
    """Why there is no new token; empty: there is no trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What one process says of itself."""

    doing: str = ""
    """Its work, in a few words: ``delivering to smtp.example.com:587``."""
    trouble: str = ""
    """Why it does not do its job at the moment; empty: it does."""
    sessions: int = 0
    """Open SMTP sessions."""
    waiting: int | None = None
    """Messages that wait for this work; None: this process does not know."""
    routes: Mapping[str, str] = field(default_factory=dict[str, str])
    """The routes in use, and why no server of it can be used; empty: one can."""
    accounts: Mapping[str, AccountState] = field(default_factory=dict[str, AccountState])
    """The OAuth2 accounts in use."""


def written(state: ProcessState) -> bytes:
    """Write a state. If it is too long, it goes without good routes, all routes, or accounts."""
    none = ProcessState()
    bad = {name: why for name, why in state.routes.items() if why}
    whole = ((state.routes, state.accounts), (bad, state.accounts))
    for routes, accounts in (*whole, (none.routes, state.accounts), (none.routes, none.accounts)):
        octets = json.dumps(
            {
                "doing": _short(state.doing),
                "trouble": _short(state.trouble),
                "sessions": state.sessions,
                "waiting": state.waiting,
                "routes": {name: _short(why) for name, why in routes.items()},
                "accounts": {
                    name: [each.until, _short(each.trouble)] for name, each in accounts.items()
                },
            },
            separators=(",", ":"),
        ).encode()
        if len(octets) <= LARGEST:
            return octets
    raise ValueError("the texts of a state are bounded")


def read(octets: bytes) -> ProcessState:
    """Read a written state.

    Raises:
        ValueError: it is none.

    """
    return from_json(json.loads(octets))


def from_json(found: Any) -> ProcessState:
    """Read a state from JSON's values; raise ValueError for other values."""
    try:
        accounts = {
            str(name): AccountState(None if until is None else float(until), str(trouble))
            for name, (until, trouble) in found.get("accounts", {}).items()
        }
        waiting = found.get("waiting")
        return ProcessState(
            doing=str(found.get("doing", "")),
            trouble=str(found.get("trouble", "")),
            sessions=int(found.get("sessions", 0)),
            waiting=None if waiting is None else int(waiting),
            routes={str(name): str(why) for name, why in found.get("routes", {}).items()},
            accounts=accounts,
        )
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not the state of a process: {error}") from error


def in_words(states: list[ProcessState]) -> str:
    """Describe the processes of one service in one line."""
    trouble = next((state.trouble for state in states if state.trouble), "")
    doing = next((state.doing for state in states if state.doing), "")
    waiting = [state.waiting for state in states if state.waiting is not None]
    sessions = sum(state.sessions for state in states)
    parts = [_short(trouble or doing)]
    if waiting:
        parts.append(f"{max(waiting)} waiting")
    if sessions:
        parts.append(f"{sessions} session{'s' if sessions > 1 else ''}")
    return ", ".join(part for part in parts if part)


def _short(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."
