"""Client filters: programs that see a copy of each message before it is sent, at every attempt."""

import asyncio
from dataclasses import dataclass
from typing import assert_never

from emailrelay.ack import Ack
from emailrelay.errors import RelayError
from emailrelay.events import Deferred, Event, Failed, FilterRejected, FilterTrouble
from emailrelay.filters.chain import Chain
from emailrelay.filters.result import read_result
from emailrelay.filters.verdict import HELD_BACK, Abandon, Accept, Reject, Skip, Trouble
from emailrelay.journal import Attempt
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import Defer, Fail, after_skip, after_trouble
from emailrelay.store.base import Claim
from emailrelay_forwarder.outgoing import Outgoing, edited

WORK_COPY_SUFFIX = "busy"
"""Client filters see an envelope whose name ends ``.envelope.busy`` (docs/filters.md)."""

_SKIPPED = Reply(451, "4.3.0 skipped by a client filter")


class Withheld(RelayError):
    """The filters do not let the message go out now; ``verdict`` says for how long."""

    def __init__(self, verdict: Reject | Skip | Trouble, by: str) -> None:
        """Take the verdict, and the filter that gave it."""
        super().__init__(f"{by}: {verdict}")
        self.verdict = verdict
        self.by = by


@dataclass(frozen=True, slots=True)
class Cleared:
    """The filters let a message go out; ``stop_run``: and want the run to end after it."""

    message: Outgoing
    stop_run: bool


@dataclass(frozen=True, slots=True)
class ClientFilters:
    """The chain, and how many messages may be in it at a time."""

    chain: Chain
    jobs: asyncio.Semaphore

    async def run(self, claim: Claim) -> Cleared:
        """Run the chain on a fresh copy; nothing of it is adopted, or footers would multiply.

        Raises:
            Withheld: the message is not to be sent.
            StoreError: no room for the copy, or it cannot be read.

        """
        async with self.jobs:
            copy = await claim.work_copy(WORK_COPY_SUFFIX)
            spoken = await self.chain.run(copy, message=claim.id)
        verdict = spoken.verdict
        match verdict:
            case Accept():
                envelope = read_result(copy)
                if isinstance(envelope, Reject | Trouble):
                    raise Withheld(envelope, spoken.filter)
                return Cleared(edited(claim, copy, envelope), verdict.stop_run)
            case Reject() | Skip() | Trouble():
                raise Withheld(verdict, spoken.filter)
            case Abandon():
                raise ValueError(f"{spoken.filter}: only a server filter drops a message")
            case _:
                assert_never(verdict)


@dataclass(frozen=True, slots=True)
class Decision:
    """How the claim is to end, what the log says, and the answer for a client who waits."""

    settlement: Defer | Fail
    event: Event
    answer: Reply


def decide(
    withheld: Withheld, claim: Claim, *, now: float, schedule: Schedule, chance: float
) -> Decision:
    """Decide what becomes of a message that filters do not let go out.

    Skipped mail stays queued however old it gets: that is what its filter asks for.
    """
    verdict, by = withheld.verdict, withheld.by
    match verdict:
        case Reject():
            reply = verdict.reply
            told = f"{by}: {reply} ({verdict.reason})"
            rejected = Attempt(at=now, peer=by, trouble=reply)
            event: Event = Failed(id=claim.id, reason=told)
            if claim.ack is Ack.DELIVERED:
                event = FilterRejected(
                    id=claim.id, filter=by, reply=str(reply), reason=verdict.reason
                )
            return Decision(Fail(reply, rejected), event, reply)
        case Skip():
            settlement = after_skip(
                claim.history, _SKIPPED, now=now, peer=by, schedule=schedule, chance=chance
            )
            when = settlement.attempt.next_attempt
            event = Deferred(id=claim.id, reason=f"{by}: skipped", next_attempt=when)
            return Decision(settlement, event, HELD_BACK)
        case Trouble():
            outcome = after_trouble(
                claim.history, verdict.reply, now=now, peer=by, schedule=schedule, chance=chance
            )
            event = FilterTrouble(id=claim.id, filter=by, reason=verdict.reason)
            if isinstance(outcome, Fail):
                event = Failed(id=claim.id, reason=f"{by}: {verdict.reply} ({verdict.reason})")
            return Decision(outcome, event, verdict.reply)
        case _:
            assert_never(verdict)
