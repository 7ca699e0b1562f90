"""The history of a message: lines appended to its envelope, never rewritten.

Each line is ``X-MailRelay-<Event>: <JSON object>`` CRLF, in ASCII, so that no address and no reply
of a peer can forge another line. The reader skips a truncated line and a line of an unknown kind:
an append torn by a crash must not hide the lines before or after it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, get_args

from emailrelay import acceptance, journal_line
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Address, Envelope
from emailrelay.journal_line import count, moment
from emailrelay.reply import Reply, one_line
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


_Plain: TypeAlias = (
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
Entry: TypeAlias = Accepted | _Plain


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


def read(entries: Iterable[Entry]) -> History:
    """Return the history for a journal, oldest entry first."""
    history = _NEW
    for entry in entries:
        history = after(history, entry)
    return history


_NEW = History()


def history(tail: bytes) -> History:
    """Read a journal from ``tail``, the envelope file's octets after its ``End`` line."""
    return read(parse(tail))


def after(history: History, entry: Entry) -> History:
    """Return the history with one more entry."""
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
            return _after_attempt(history, entry)
        case Failure() | Held() | Moving():
            return _after_setting_aside(history._replace(wish=None), entry)
        case Released():
            # Refused recipients are tried again, except those that a filter refused when it asked
            # for quarantine. Those with a copy must not get a second one.
            return history._replace(
                started_at=entry.at,
                attempts=0,
                next_attempt=None,
                refused=history.refused if history.held_for else {},
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
            return history._replace(doubts=tuple(dict.fromkeys((*history.doubts, entry.peer))))
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
            return history._replace(moving=entry)


def _after_attempt(history: History, attempt: Attempt) -> History:
    delivered = {a: r for a, r in attempt.replies.items() if r.accepted}
    refused = {a: r for a, r in attempt.replies.items() if r.permanent}
    return history._replace(
        # A message of another program has no time of acceptance: its age counts from the first
        # attempt.
        started_at=attempt.at if history.started_at is None else history.started_at,
        attempts=history.attempts + attempt.tries,
        last_attempt=attempt,
        next_attempt=attempt.next_attempt,
        delivered={**history.delivered, **delivered},
        refused={**history.refused, **refused},
    )


_WORDS: Mapping[type[Entry], str] = {
    **{kind: kind.__name__ for kind in get_args(Entry)},
    Failure: "Failed",
}
"""The words on disk."""


def write(entry: Entry) -> bytes:
    """Return the line or lines of one entry, each with CRLF."""
    if isinstance(entry, Accepted):
        return acceptance.write(entry)
    line = journal_line.write(_WORDS[type(entry)], _encode(entry))
    if isinstance(entry, Failure):
        return _reason(entry.reason) + line
    return line


def encode(entry: Entry) -> dict[str, Any]:
    """Return the object of an entry's line, with its word as ``event``."""
    value = acceptance.encode(entry) if isinstance(entry, Accepted) else _encode(entry)
    return {"event": _WORDS[type(entry)], **value}


def decode(value: Mapping[str, Any]) -> Entry | None:
    """Read an object of ``encode``; None: it is of an unknown kind, or wrong."""
    reader = _DECODERS.get(str(value.get("event")).encode(errors="replace"))
    try:
        return None if reader is None else reader(dict(value))
    except _WRONG:
        return None


def _reason(reply: Reply) -> bytes:
    """Return the two lines for older tools and administrators."""
    text = one_line(reply.text).encode()
    return b"X-MailRelay-Reason: %s\r\nX-MailRelay-ReasonCode: %d\r\n" % (text, reply.code)


def _encode(entry: _Plain) -> dict[str, Any]:
    match entry:
        case Attempt():
            value: dict[str, Any] = {"at": entry.at, "peer": entry.peer}
            value.update(_encode_replies(entry.replies))
            if entry.trouble is not None:
                value["trouble"] = str(entry.trouble)
            if entry.next_attempt is not None:
                value["next"] = entry.next_attempt
            if entry.tries != 1:
                value["tries"] = entry.tries
            if entry.tls:
                value["tls"] = entry.tls
            return value
        case Failure():
            return {"at": entry.at, "stage": entry.stage, "reason": str(entry.reason)}
        case Held(reason=""):
            return {"at": entry.at, "stage": entry.stage}
        case _:
            return {name: getattr(entry, name) for name in entry.__slots__}


def _encode_replies(replies: Mapping[Address, Reply]) -> dict[str, Any]:
    """Encode the results of an attempt.

    A final reply is written with its address, once in a journal. A temporary reply to many
    recipients comes again with each try, so its text is written once, with all their addresses.
    """
    alike: dict[Reply, list[str]] = {}
    for address, reply in replies.items():
        if not (reply.accepted or reply.permanent):
            alike.setdefault(reply, []).append(address)
    if not alike:  # nearly always
        return {"replies": {who: str(reply) for who, reply in replies.items()}} if replies else {}
    later = {str(reply): addresses for reply, addresses in alike.items() if len(addresses) > 1}
    grouped = {address for addresses in later.values() for address in addresses}
    each = {address: str(reply) for address, reply in replies.items() if address not in grouped}
    return ({"replies": each} if each else {}) | ({"later": later} if later else {})


def parse(tail: bytes) -> list[Entry]:
    """Read the entries of ``tail``, the envelope file's octets after its ``End`` line."""
    entries: list[Entry] = []
    for line in tail.split(b"\n")[:-1]:  # after the last LF there may be a torn append
        entry = parse_line(line.rstrip(b"\r"))
        if entry is not None:
            entries.append(entry)
    return entries


def parse_line(line: bytes) -> Entry | None:
    """Read one line, without its CRLF; None: it is torn, or of an unknown kind."""
    name, colon, text = line.partition(b": ")
    reader = _READERS.get(name)
    try:
        return reader(journal_line.read(text)) if reader is not None and colon else None
    except _WRONG:
        return None


_WRONG = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""The errors of values that are wrong."""


def _attempt(value: dict[str, Any]) -> Attempt:
    trouble, next_attempt = value.get("trouble"), value.get("next")
    return Attempt(
        at=moment(value["at"]),
        peer=str(value["peer"]),
        replies=_replies(value),
        trouble=None if trouble is None else Reply.parse(trouble),
        next_attempt=None if next_attempt is None else moment(next_attempt),
        tries=count(value.get("tries", 1)),
        tls=str(value.get("tls", "")),
    )


def _replies(value: dict[str, Any]) -> dict[Address, Reply]:
    replies = {Address(a): Reply.parse(r) for a, r in value.get("replies", {}).items()}
    for text, addresses in value.get("later", {}).items():
        reply = Reply.parse(text)
        replies.update((Address(str(address)), reply) for address in addresses)
    return replies


_DECODERS: Mapping[bytes, Callable[[dict[str, Any]], Entry]] = {
    b"Accepted": acceptance.read,
    b"Answered": lambda v: Answered(at=moment(v["at"])),
    b"Filtered": lambda v: Filtered(
        at=moment(v["at"]), length=count(v["length"]), crc32=count(v["crc32"])
    ),
    b"Attempt": _attempt,
    b"Failed": lambda v: Failure(
        at=moment(v["at"]), stage=Stage(v["stage"]), reason=Reply.parse(v["reason"])
    ),
    b"Held": lambda v: Held(
        at=moment(v["at"]), stage=Stage(v["stage"]), reason=str(v.get("reason", ""))
    ),
    b"Moving": lambda v: Moving(
        at=moment(v["at"]), stage=Stage(v["stage"]), origin=str(v["origin"])
    ),
    b"Released": lambda v: Released(at=moment(v["at"])),
    b"Flushed": lambda v: Flushed(at=moment(v["at"])),
    b"Doubted": lambda v: Doubted(at=moment(v["at"]), peer=str(v["peer"])),
    b"Wished": lambda v: Wished(at=moment(v["at"]), wish=AdministratorWish(v["wish"])),
    b"Notified": lambda v: Notified(
        at=moment(v["at"]),
        told=None if v.get("told") is None else bool(v["told"]),
        to=tuple(Address(str(address)) for address in v.get("to", ())),
        notice=str(v.get("notice", "")),
    ),
}
_READERS = {journal_line.PREFIX + word: reader for word, reader in _DECODERS.items()}
"""The same by the names of lines."""
