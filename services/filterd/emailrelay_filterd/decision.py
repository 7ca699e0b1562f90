"""What a chain's verdict means for the message, as a settlement and the fact to tell."""

from dataclasses import dataclass
from typing import assert_never

from emailrelay.events import Abandoned, Deferred, Event, Failed, FilterTrouble, Passed
from emailrelay.filters.chain import Spoken
from emailrelay.filters.verdict import Abandon, Accept, Reject, Skip, Trouble
from emailrelay.journal import Attempt, History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import Defer, Done, Fail, Pass, Settlement, after_trouble


@dataclass(frozen=True, slots=True)
class Decision:
    """How the claim is to end, and what the log says of it."""

    settlement: Settlement
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the chain: for which message, when it ended, how long it took (seconds)."""

    message: QueueId
    history: History
    ended: float
    seconds: float
    chance: float
    """A random number in [0, 1) for the spread of the pauses."""


def decide(spoken: Spoken, run: Run, schedule: Schedule) -> Decision:
    """Decide; 4yz and trouble come back until the message is too old, 5yz fails at once."""
    verdict = spoken.verdict
    match verdict:
        case Accept():
            return Decision(Pass(), Passed(id=run.message, seconds=run.seconds))
        case Abandon():
            return Decision(Done(), Abandoned(id=run.message, filter=spoken.filter))
        case Reject() if verdict.reply.permanent:
            return _fail(spoken.filter, verdict.reply, verdict.reason, run)
        case Reject():
            return _later(spoken.filter, verdict.reply, verdict.reason, run, schedule)
        case Trouble():
            decision = _later(spoken.filter, verdict.reply, verdict.reason, run, schedule)
            if isinstance(decision.settlement, Fail):
                return decision
            trouble = FilterTrouble(id=run.message, filter=spoken.filter, reason=verdict.reason)
            return Decision(decision.settlement, trouble)
        case Skip():
            raise ValueError(f"{spoken.filter}: only a client filter skips a message")
        case _:
            assert_never(verdict)


def _fail(by: str, reply: Reply, reason: str, run: Run) -> Decision:
    attempt = Attempt(at=run.ended, peer=by, trouble=reply)
    return Decision(Fail(reply, attempt), Failed(id=run.message, reason=_told(by, reply, reason)))


def _later(by: str, reply: Reply, reason: str, run: Run, schedule: Schedule) -> Decision:
    settlement = after_trouble(
        run.history, reply, now=run.ended, peer=by, schedule=schedule, chance=run.chance
    )
    told = _told(by, reply, reason)
    match settlement:
        case Fail():
            return Decision(settlement, Failed(id=run.message, reason=told))
        case Defer(attempt):
            event = Deferred(id=run.message, reason=told, next_attempt=attempt.next_attempt)
            return Decision(settlement, event)
        case _:
            assert_never(settlement)


def _told(by: str, reply: Reply, reason: str) -> str:
    return f"{by}: {reply} ({reason})"
