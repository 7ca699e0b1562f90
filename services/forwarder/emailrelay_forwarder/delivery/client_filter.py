"""Client filters: programs that get a copy of each message at every attempt, before it is sent."""

import asyncio
from dataclasses import dataclass
from typing import assert_never

from emailrelay.errors import RelayError
from emailrelay.events.event import Report
from emailrelay.filter_decision import bug_found, filtered
from emailrelay.filters.chain import Chain
from emailrelay.filters.result import read_result
from emailrelay.filters.verdict import Abandon, Accept, BrokenFilter, Reject, Skip, Spoken
from emailrelay.store.claim import Claim
from emailrelay_forwarder.delivery.outgoing import Outgoing, edited

WORK_COPY_SUFFIX = "busy"
"""Client filters see an envelope whose name ends ``.envelope.busy`` (docs/filters.md)."""


class Withheld(RelayError):
    """The filters do not let the message go out now."""

    def __init__(self, spoken: Spoken) -> None:
        """Take the verdict and its filter."""
        super().__init__(f"{spoken.filter}: {spoken.verdict}")
        self.spoken = spoken


@dataclass(frozen=True, slots=True)
class ClientFilters:
    """The chain, and the number of messages that may be in it at a time."""

    chain: Chain
    jobs: asyncio.Semaphore

    async def run(self, claim: Claim, report: Report) -> tuple[Outgoing, Accept]:
        """Run the chain on a fresh copy; return it, and the verdict that lets it go out.

        A verdict that lets the message go out is reported here, and another one where it is obeyed.

        The store does not adopt the copy, since footers would multiply.

        Raises:
            Withheld: the message must not be sent.
            StoreError: there is no room for the copy, or it cannot be read.

        """
        async with self.jobs:
            copy = await claim.work_copy(WORK_COPY_SUFFIX)
            spoken = await self.chain.run(copy, message=claim.id, dsn=claim.history.dsn)
        if (bug := bug_found(spoken, claim.id)) is not None:
            report(bug)
        verdict = spoken.verdict
        match verdict:
            case Accept(quarantine=str()) if not claim.history.released:
                raise Withheld(spoken)
            case Accept():
                envelope = read_result(copy)
                if isinstance(envelope, Reject | BrokenFilter):
                    raise Withheld(Spoken(envelope, spoken.filter))
                report(filtered(spoken, claim.id))
                return edited(claim, copy, envelope), verdict
            case Reject() | Skip() | BrokenFilter() | Abandon():
                raise Withheld(spoken)
            case _:
                assert_never(verdict)
