"""Selects messages by id, state, age and address."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from emailrelay.envelope import Envelope
from emailrelay.queue.state import State, arrived, state_of
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Listed

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhdw])")
_FILE = re.compile(r"(?:.*/)?emailrelay\.(.+?)\.(?:content|envelope(?:\.[a-z]+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions that a message must meet together; an empty selection means every message."""

    ids: frozenset[QueueId] = frozenset()
    states: frozenset[State] = frozenset()
    older: float | None = None
    """Seconds since arrival."""
    sender: str | None = None
    """A pattern with ``*`` and ``?``; ``<>`` is the null sender."""
    recipient: str | None = None

    @property
    def empty(self) -> bool:
        """True if there is no condition."""
        return self == Selection()

    @property
    def names_suffice(self) -> bool:
        """True if no envelope needs to be read."""
        return self.sender is None and self.recipient is None

    def by_name(self, listed: Listed, now: float) -> bool:
        """Tell whether a listing entry meets the conditions on id, state and age."""
        return (
            (not self.ids or listed.id in self.ids)
            and (not self.states or state_of(listed.stage, listed.since, now) in self.states)
            and (self.older is None or now - arrived(listed) >= self.older)
        )

    def by_envelope(self, envelope: Envelope) -> bool:
        """Tell whether an envelope meets the conditions on addresses."""
        return (self.sender is None or _matches(self.sender, envelope.sender)) and (
            self.recipient is None or any(_matches(self.recipient, r) for r in envelope.recipients)
        )


def _matches(pattern: str, address: str) -> bool:
    # Case is ignored: in domains by RFC 5321 section 2.4, in local parts for convenience.
    return fnmatchcase(address.lower(), pattern.removeprefix("<").removesuffix(">").lower())


def parse_age(text: str) -> float:
    """Read ``90s``, ``15m``, ``12h``, ``5d`` or ``2w`` as seconds.

    Raises:
        ValueError: the text is not an age.

    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text}: not an age; write 90s, 15m, 12h, 5d or 2w")
    return float(match[1]) * _UNITS[match[2]]


def parse_id(text: str) -> QueueId:
    """Read a message id, or take it from the name of one of the message's files."""
    match = _FILE.fullmatch(text)
    return QueueId(match[1] if match else text)
