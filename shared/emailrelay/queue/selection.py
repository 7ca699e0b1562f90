"""Which messages the operator means."""

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
    """What a message must be, all of it at once; an empty selection means every message."""

    ids: frozenset[QueueId] = frozenset()
    states: frozenset[State] = frozenset()
    older: float | None = None
    """Seconds since arrival."""
    sender: str | None = None
    """A pattern with ``*`` and ``?``; ``<>`` is the null sender."""
    recipient: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return self == Selection()

    @property
    def names_suffice(self) -> bool:
        """Whether no envelope need be read to decide."""
        return self.sender is None and self.recipient is None

    def by_name(self, listed: Listed, now: float) -> bool:
        """Decide by what a listing tells."""
        return (
            (not self.ids or listed.id in self.ids)
            and (not self.states or state_of(listed.stage, listed.since, now) in self.states)
            and (self.older is None or now - arrived(listed) >= self.older)
        )

    def by_envelope(self, envelope: Envelope) -> bool:
        """Decide by the addresses."""
        return (self.sender is None or _matches(self.sender, envelope.sender)) and (
            self.recipient is None or any(_matches(self.recipient, r) for r in envelope.recipients)
        )


def _matches(pattern: str, address: str) -> bool:
    # Domains are compared without case (RFC 5321 section 2.4), and no operator types local parts twice.
    return fnmatchcase(address.lower(), pattern.removeprefix("<").removesuffix(">").lower())


def parse_age(text: str) -> float:
    """Read ``90s``, ``15m``, ``12h``, ``5d`` or ``2w`` as seconds.

    Raises:
        ValueError: it is none of these.

    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text}: not an age; say 90s, 15m, 12h, 5d or 2w")
    return float(match[1]) * _UNITS[match[2]]


def parse_id(text: str) -> QueueId:
    """Read a message's id, or the name of one of its files."""
    match = _FILE.fullmatch(text)
    return QueueId(match[1] if match else text)
