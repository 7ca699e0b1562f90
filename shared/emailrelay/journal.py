"""The history of a message, as the entries of its journal tell it.

Entries are appended, never changed. ``journal_format`` has their lines in the envelope file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply
from emailrelay.stage import Stage


class AdministratorWish(StrEnum):
    """A request of an operator while the message was claimed; it is obeyed when the claim ends."""

    HOLD = "hold"
    RETRY = "retry"
    FAIL = "fail"
    DELETE = "delete"
    MOVE = "move"
    """Set it aside for a move to another store."""
    ARRIVE = "arrive"
    """Let it go on where it was before its move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A waiting client got 250 and the message stays: it is ordinary mail now."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """The filter chain accepted; ``length`` and ``crc32`` are those of the content after it."""

    at: float
    length: int
    crc32: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try.

    The replies of ``peer`` by recipient, and the reason for recipients without a reply.
    """

    at: float
    peer: str
    replies: Mapping[Address, Reply] = field(default_factory=dict[Address, Reply])
    trouble: Reply | None = None
    next_attempt: float | None = None
    tries: int = 1
    """The number of tries in this line: in a shortened journal more than one, or none."""
    tls: str = ""
    """The version of TLS on the connection to ``peer``, such as ``TLSv1.3``; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Given up at ``stage``; also written as ``Reason:`` and ``ReasonCode:`` for older tools."""

    at: float
    stage: Stage
    reason: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Set aside at ``stage``: by a filter, for ``reason``, or by the operator."""

    at: float
    stage: Stage
    reason: str = ""
    """Empty: by the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Set aside at ``stage`` for a move; ``origin`` names the store that it comes from."""

    at: float
    stage: Stage
    origin: str = ""
    """Empty in the store that it leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The operator asked for another try: schedule and age start again."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """The operator asked for a try now; schedule and age continue."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted:
    """A forwarder died after the final dot to ``peer``: the next copy may be a second one."""

    at: float
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """An operator's request that waits for the claim to end."""

    at: float
    wish: AdministratorWish


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """The notification about the failure is done: a notice was made, or none will be."""

    at: float
    told: bool | None = None
    """True if the sender was told of the failure, or did not want to be. None: an older release
    wrote the line, which does not say."""
    to: tuple[Address, ...] = ()
    """The addresses that the notice goes to."""
    notice: str = ""
    """The id of the notice; several messages may share one."""


PlainEntry: TypeAlias = (
    Answered
    | Filtered
    | Attempt
    | Failure
    | Held
    | Moving
    | Released
    | Flushed
    | Doubted
    | Wished
    | Notified
)
Entry: TypeAlias = Accepted | PlainEntry


class History(NamedTuple):
    """The state of a message after its whole journal."""

    accepted_at: float | None = None
    """None for a message of another program."""
    started_at: float | None = None
    """The start of the current schedule: acceptance, last release, or first attempt."""
    stage: Stage | None = None
    ack: Ack = Ack.STORED
    """The event that the client waits for. DELIVERED mail is withdrawn after its client has
    gone."""
    session: str = ""
    dsn: DsnRequest = NO_REQUEST
    length: int | None = None
    crc32: int | None = None
    attempts: int = 0
    last_attempt: Attempt | None = None
    next_attempt: float | None = None
    delivered: Mapping[Address, Reply] = MappingProxyType({})
    refused: Mapping[Address, Reply] = MappingProxyType({})
    failed: Failure | None = None
    held: bool = False
    held_for: str = ""
    """A filter's reason to hold it; empty: the operator holds it, or it is not held."""
    moving: Moving | None = None
    """The last move; it is under way while the message is HELD."""
    origin: str = ""
    """The store that it came from; empty: it was begun in this one."""
    released: bool = False
    """True if an operator has released the message as it is."""
    doubts: tuple[str, ...] = ()
    wish: AdministratorWish | None = None
    notice_depth: int = 0
    """See ``Accepted.notice``."""
    notified: bool = False
    notice: Notified | None = None
    """The last line about a notification; None while ``notified`` is False, or if it is lost."""

    @property
    def wanted_now(self) -> bool:
        """True if the operator made it due (flush, retry or release), and no try came after."""
        return self.next_attempt is None and (self.attempts > 0 or self.released)

    def pending(self, envelope: Envelope) -> tuple[Address, ...]:
        """Return the recipients without a final reply of a server, each once."""
        if not self.delivered and not self.refused:  # nearly always, and called several times
            return tuple(dict.fromkeys(envelope.recipients))
        settled = {**self.delivered, **self.refused}
        return tuple({r: None for r in envelope.recipients if r not in settled})


_NEW = History()


def read(entries: Iterable[Entry], before: History = _NEW) -> History:
    """Return the history after these entries, oldest first; ``before``: what came before them.

    Each entry costs the same, however long the journal is: a stranger may have written it.
    """
    history, gathers = before, False
    delivered: dict[Address, Reply] = {**before.delivered} if before.delivered else {}
    refused: dict[Address, Reply] = {**before.refused} if before.refused else {}
    doubts: dict[str, None] = dict.fromkeys(before.doubts) if before.doubts else {}
    for entry in entries:
        match entry:
            case Attempt():
                gathers = True
                for address, reply in entry.replies.items():
                    if reply.accepted:
                        delivered[address] = reply
                    elif reply.permanent:
                        refused[address] = reply
            case Released() if not history.held_for:
                # Refused recipients are tried again, except those that a filter refused when it
                # asked for quarantine. Those with a copy must not get a second one.
                gathers = True
                refused.clear()
            case Doubted():
                gathers = True
                doubts[entry.peer] = None
            case _:
                pass
        history = _after(history, entry)
    if not gathers:
        return history
    return history._replace(delivered=delivered, refused=refused, doubts=tuple(doubts))


def _after(history: History, entry: Entry) -> History:
    """Return the history with one more entry, but without what ``read`` gathers."""
    match entry:
        case Accepted():
            facts: dict[str, Any] = {
                "accepted_at": entry.at,
                "started_at": entry.at,
                "stage": entry.stage,
                "length": entry.length,
                "crc32": entry.crc32,
                "ack": entry.ack,
                "session": entry.session,
                "dsn": entry.dsn,
                "notice_depth": entry.notice,
            }
            # The first line of nearly every journal; ``_replace`` takes more than twice as long.
            return History(**facts) if history is _NEW else history._replace(**facts)
        case Answered():
            return history._replace(ack=Ack.STORED)
        case Filtered():
            return history._replace(
                stage=Stage.READY,
                length=entry.length,
                crc32=entry.crc32,
                attempts=0,
                next_attempt=None,
            )
        case Attempt():
            return history._replace(
                # A message of another program has no time of acceptance: its age counts from the
                # first attempt.
                started_at=entry.at if history.started_at is None else history.started_at,
                attempts=history.attempts + entry.tries,
                last_attempt=entry,
                next_attempt=entry.next_attempt,
            )
        case Failure() | Held() | Moving():
            return _after_setting_aside(history._replace(wish=None), entry)
        case Released():
            return history._replace(
                started_at=entry.at,
                attempts=0,
                next_attempt=None,
                failed=None,
                held=False,
                held_for="",
                moving=None,
                released=True,
                ack=Ack.STORED,
                wish=None,
                notified=False,
                notice=None,
            )
        case Flushed():
            return history._replace(next_attempt=None)
        case Doubted():
            return history
        case Wished():
            return history._replace(wish=entry.wish)
        case Notified():
            return history._replace(notified=True, notice=entry)


def _after_setting_aside(history: History, entry: Failure | Held | Moving) -> History:
    match entry:
        case Failure():
            return history._replace(failed=entry, stage=entry.stage)
        case Held():
            return history._replace(
                held=True, held_for=entry.reason, moving=None, stage=entry.stage
            )
        case Moving():
            return history._replace(moving=entry, origin=entry.origin or history.origin)
