"""The consequence of a filter chain's verdict: a settlement, an event for the log, and an answer.

The rule serves both sides: filters run by filterd and client filters run by the forwarder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
from emailrelay.events.delivery import Deferred, Failed, RecipientsRefused
from emailrelay.events.event import Event
from emailrelay.events.filters import (
    Abandoned,
    FilterHeld,
    FilterRejected,
    FilterTrouble,
    FilterVerdict,
    Passed,
)
from emailrelay.events.service import InternalError
from emailrelay.filters.verdict import (
    HELD_BACK,
    Abandon,
    Accept,
    BrokenFilter,
    Reject,
    Side,
    Skip,
    Spoken,
    Verdict,
)
from emailrelay.journal import Attempt, History
from emailrelay.mail_fields import MailFields, mail_fields
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import (
    Defer,
    Done,
    Fail,
    Hold,
    Pass,
    Settlement,
    after_skip,
    after_trouble,
    refusal,
)

_ACCEPTED = Reply(250, "2.0.0 OK")
_WORDS: Mapping[type[Verdict], str] = MappingProxyType(
    {
        Accept: "accept",
        Abandon: "abandon",
        Reject: "reject",
        Skip: "skip",
        BrokenFilter: "trouble",
    }
)
_TAKEN = Reply(250, "2.0.0 dropped by a filter")
_IN_MAILBOXES = Reply(250, "2.0.0 delivered to mailboxes of this host")
_SKIPPED = Reply(451, "4.3.0 skipped by a client filter")


@dataclass(frozen=True, slots=True)
class Decision:
    """The settlement of the claim, the event for the log, and the answer for a waiting client."""

    settlement: Settlement
    event: Event
    answer: Reply | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a chain: its message, its end (seconds since 1970), and its duration (seconds)."""

    message: QueueId
    history: History
    ack: Ack
    ended: float
    seconds: float
    chance: float
    """A random number in [0, 1) for the spread of the pauses."""
    about: MailFields
    """The message, for the log."""
    envelope: Envelope
    side: Side = Side.SERVER


def decide(spoken: Spoken, run: Run, schedule: Schedule) -> Decision:
    """Return the decision for a verdict.

    A 4yz rejection and trouble defer the message until it is too old. A 5yz rejection fails it at
    once. A skipped message stays in the queue however old it gets, since its filter asks for that.

    A waiting client gets the rejection or the trouble as its answer. The settlement then applies
    only if that client has just given up.
    """
    verdict, name = spoken.verdict, spoken.filter
    match verdict:
        case Accept():
            return _accept(verdict, run)
        case Abandon():
            return _abandon(name, verdict, run)
        case Reject():
            return _reject(name, verdict, run, schedule)
        case BrokenFilter():
            settlement, event = _later(name, verdict.reply, verdict.reason, run, schedule)
            if isinstance(settlement, Defer):
                event = FilterTrouble(
                    id=run.message, filter=name, reason=verdict.reason, **run.about
                )
            return Decision(settlement, event, verdict.reply)
        case Skip():
            return _skip(name, run, schedule)
        case _:
            assert_never(verdict)


def filtered(spoken: Spoken, message: QueueId) -> FilterVerdict:
    """Return the event for a verdict of a chain, whatever follows from it."""
    return FilterVerdict(id=message, filter=spoken.filter, verdict=_WORDS[type(spoken.verdict)])


def bug_found(spoken: Spoken, message: QueueId) -> InternalError | None:
    """Return the event for an error in this program that a chain met; None: it met none."""
    verdict = spoken.verdict
    if not (isinstance(verdict, BrokenFilter) and verdict.bug):
        return None
    return InternalError(doing=f"filtering {message}", reason=verdict.bug)


def recipients_refused(spoken: Spoken, run: Run) -> RecipientsRefused | None:
    """Return the event for recipients that filters refused alone; None: there are none."""
    refused = spoken.verdict.refused
    if not refused:
        return None
    about = mail_fields(run.envelope, [each.address for each in refused])
    peer, reply = refused[0].filter, str(refused[0].reply)
    return RecipientsRefused(id=run.message, peer=peer, reply=reply, **about)


def _accept(verdict: Accept, run: Run) -> Decision:
    quarantine = verdict.quarantine
    if quarantine is not None and run.side is Side.CLIENT:
        held = FilterHeld(id=run.message, reason=quarantine, **run.about)
        return Decision(Hold(quarantine), held, _ACCEPTED)
    passed = Pass(quarantine, _refusals(verdict, run))
    if quarantine is not None:
        held = FilterHeld(id=run.message, reason=quarantine, **run.about)
        return Decision(passed, held, _ACCEPTED)
    # The forwarder answers a client that waits for the delivery.
    answer = None if run.ack is Ack.DELIVERED else _ACCEPTED
    return Decision(passed, Passed(id=run.message, seconds=run.seconds, **run.about), answer)


def _abandon(by: str, verdict: Abandon, run: Run) -> Decision:
    """End the message, and notify its sender of the recipients that were refused before."""
    attempt = _refusals(verdict, run)
    taken = dict.fromkeys(
        run.history.pending(run.envelope), _IN_MAILBOXES if verdict.delivered else _TAKEN
    )
    if attempt is None:
        end = MessageEnd.DELIVERED if verdict.delivered else MessageEnd.DROPPED
        last = Attempt(at=run.ended, peer=by, replies=taken if verdict.delivered else {})
        event = Abandoned(id=run.message, filter=by, end=end.value, **run.about)
        return Decision(Done(last, end), event, _ACCEPTED)
    replies = {**taken, **attempt.replies}
    settlement = Fail(refusal(attempt.replies), replace(attempt, replies=replies))
    code, reason = settlement.reason.code, f"{by}: {settlement.reason}"
    return Decision(
        settlement, Failed(id=run.message, reason=reason, code=code, **run.about), _ACCEPTED
    )


def _refusals(verdict: Verdict, run: Run) -> Attempt | None:
    refused = verdict.refused
    if not refused:
        return None
    replies = {each.address: each.reply for each in refused}
    return Attempt(at=run.ended, peer=refused[0].filter, replies=replies)


def _reject(by: str, verdict: Reject, run: Run, schedule: Schedule) -> Decision:
    reply, reason = verdict.reply, verdict.reason
    settlement, event = (
        _fail(by, reply, reason, run)
        if reply.permanent
        else _later(by, reply, reason, run, schedule)
    )
    if run.ack is not Ack.STORED:
        event = FilterRejected(
            id=run.message, filter=by, reply=str(reply), reason=reason, **run.about
        )
    return Decision(settlement, event, reply)


def _skip(by: str, run: Run, schedule: Schedule) -> Decision:
    settlement = after_skip(
        run.history, _SKIPPED, now=run.ended, peer=by, schedule=schedule, chance=run.chance
    )
    when = settlement.attempt.next_attempt
    code, why = _SKIPPED.code, f"{by}: skipped"
    event = Deferred(id=run.message, reason=why, next_attempt=when, code=code, **run.about)
    return Decision(settlement, event, HELD_BACK)


def _fail(by: str, reply: Reply, reason: str, run: Run) -> tuple[Settlement, Event]:
    attempt = Attempt(at=run.ended, peer=by, trouble=reply)
    return Fail(reply, attempt), Failed(
        id=run.message, reason=_reason(by, reply, reason), code=reply.code, **run.about
    )


def _later(
    by: str, reply: Reply, reason: str, run: Run, schedule: Schedule
) -> tuple[Settlement, Event]:
    settlement = after_trouble(
        run.history, reply, now=run.ended, peer=by, schedule=schedule, chance=run.chance
    )
    text = _reason(by, reply, reason)
    match settlement:
        case Fail():
            return settlement, Failed(id=run.message, reason=text, code=reply.code, **run.about)
        case Defer(attempt):
            when, code = attempt.next_attempt, reply.code
            event = Deferred(id=run.message, reason=text, next_attempt=when, code=code, **run.about)
            return settlement, event
        case _:
            assert_never(settlement)


def _reason(by: str, reply: Reply, reason: str) -> str:
    return f"{by}: {reply} ({reason})"
