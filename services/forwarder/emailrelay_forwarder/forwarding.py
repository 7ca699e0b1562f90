"""One claimed message from its route to its settlement."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import random

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.events import (
    Deferred,
    Delivered,
    Failed,
    InternalError,
    PossibleDuplicate,
    Report,
    StoreTrouble,
    Withdrawn,
)
from emailrelay.journal import Attempt
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import (
    Defer,
    Done,
    Fail,
    Settlement,
    after_attempt,
    refusals_final,
)
from emailrelay.store.base import Claim
from emailrelay_forwarder.client_filter import ClientFilters, Withheld, decide
from emailrelay_forwarder.delivery import NoLongerWanted, Progress, deliver, stale, wants_less
from emailrelay_forwarder.outgoing import Outgoing, as_it_is, everybody, for_all
from emailrelay_forwarder.route import NoRoute, Route, route_of
from emailrelay_forwarder.smarthost import Smarthost, TurnedAway
from emailrelay_forwarder.smtp_client import Session
from emailrelay_forwarder.trouble import SessionTrouble

_NOT_NOW = Reply(451, "4.4.0 the next mail server cannot be used right now")
_STORE_PAUSE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What stays the same for all messages."""

    forward_to: Route
    most: int
    """Connections to one server."""
    schedule: Schedule
    open_session: Callable[[Route], Awaitable[Session]]
    report: Report
    clock: Callable[[], float]
    filters: ClientFilters | None = None
    partly: bool = False
    """Whether a client who waits is told yes when some of the recipients were accepted."""
    no_retry: bool = False
    """Whether every refusal is final; what refused nobody is tried again all the same."""


class Forwarding:
    """The servers in use, and the way of a message through them. ``recovered``: see ``Smarthost``."""

    def __init__(self, rules: Rules, recovered: Callable[[], None]) -> None:
        self._rules = rules
        self._report = rules.report
        self._recovered = recovered
        self._smarthosts: dict[Route, Smarthost] = {}

    async def forward(self, claim: Claim, progress: Progress) -> Settlement:
        """Make one attempt and settle the claim; tell how it ended.

        Cancelled, it records the answers it has, and drops the rest for another attempt.
        """
        try:
            await self._attempt(claim, progress)
        except NoLongerWanted:
            if await self._record(claim, Done(), progress):
                self._report(Withdrawn(id=claim.id))
            return Done()
        except Withheld as withheld:
            return await self._withhold(claim, withheld, progress)
        except asyncio.CancelledError:
            if progress.at_dot or any(reply.accepted for reply in progress.replies.values()):
                progress.obstacle = Reply(451, "4.3.2 stopped before the message was done")
                await self._settle(claim, progress)
            raise
        return await self._settle(claim, progress)

    @property
    def paused(self) -> bool:
        """Whether some server's mail is turned away for now; it will be called back."""
        return any(smarthost.paused for smarthost in self._smarthosts.values())

    def try_now(self) -> None:
        """End the pauses of all servers."""
        for smarthost in self._smarthosts.values():
            smarthost.try_now()

    async def close(self) -> None:
        """Part from all servers."""
        await asyncio.gather(*(smarthost.close() for smarthost in self._smarthosts.values()))

    async def _attempt(self, claim: Claim, progress: Progress) -> None:
        """Fill ``progress``; its peer is the route until a server is reached."""
        progress.began = self._rules.clock()
        try:
            message = progress.message = await self._outgoing(claim, progress)
            smarthost = self._smarthost_for(message, progress)
            while await self._wants_fresh_session(message, smarthost, progress):
                pass
        except SessionTrouble as trouble:
            progress.trouble = trouble
        except NoRoute as error:
            progress.obstacle = Reply.of(451, f"4.3.5 {error}")
        except StoreError as error:
            self._report(StoreTrouble(doing=f"reading {claim.id}", reason=str(error)))
            progress.obstacle = Reply(451, "4.3.0 the content cannot be read now")
        except (NoLongerWanted, Withheld):
            raise
        except Exception as error:  # noqa: BLE001 -- an error of ours in one message must not stop all others
            trace = "".join(traceback.format_exception(error))
            self._report(InternalError(doing=f"forwarding {claim.id}", reason=trace))
            progress.obstacle = Reply(451, "4.3.0 internal error")

    async def _outgoing(self, claim: Claim, progress: Progress) -> Outgoing:
        """Give what is to be sent: what client filters make of the message, if there are any."""
        message = as_it_is(claim)
        if self._rules.filters is not None:
            # Mail that would be turned away costs no run of the filters.
            self._smarthost_for(message, progress).turn_away_if_paused()
            cleared = await self._rules.filters.run(claim)
            message, progress.stop_run = cleared.message, cleared.stop_run
        return message

    async def _wants_fresh_session(
        self, message: Outgoing, smarthost: Smarthost, progress: Progress
    ) -> bool:
        """Deliver over one session; tell whether the rest should have a fresh one at once."""
        session: Session | None = None
        awaited = message.claim.ack is Ack.DELIVERED
        owner = message.claim.history.session if awaited else ""
        together = awaited and not self._rules.partly
        try:
            async with smarthost.session(owner) as session:
                progress.peer = session.peer
                await deliver(message, session, progress, together=together)
        except SessionTrouble as trouble:
            if session is not None and stale(trouble, progress, session):
                return True
            progress.trouble = trouble
        if any(wants_less(reply) for reply in progress.replies.values()):
            smarthost.restrain()
        return False

    def _smarthost_for(self, message: Outgoing, progress: Progress) -> Smarthost:
        route = route_of(message.envelope, self._rules.forward_to)
        progress.peer = str(route)
        return self._smarthost(route)

    def _smarthost(self, route: Route) -> Smarthost:
        smarthost = self._smarthosts.get(route)
        if smarthost is None:
            # A filter may name any number of servers; those out of use are forgotten.
            for old in [r for r, s in self._smarthosts.items() if s.idle]:
                del self._smarthosts[old]
            smarthost = self._smarthosts[route] = Smarthost(
                route,
                self._rules.open_session,
                most=self._rules.most,
                report=self._report,
                recovered=self._recovered,
            )
        return smarthost

    async def _settle(self, claim: Claim, progress: Progress) -> Settlement:
        now = self._rules.clock()
        envelope, replies = claim.envelope, progress.replies
        if progress.message is not None:
            sent = progress.message.envelope
            replies = for_all(claim.envelope, sent, replies, claim.history)
            envelope = everybody(claim.envelope, sent)
        attempt = Attempt(at=now, peer=progress.peer, replies=replies, trouble=progress.why)
        if self._rules.no_retry:
            attempt = refusals_final(attempt)
        settlement = after_attempt(
            envelope,
            claim.history,
            attempt,
            schedule=self._rules.schedule,
            chance=random(),  # noqa: S311 -- a spread, no secret
        )
        if progress.doubtful:
            self._report(PossibleDuplicate(id=claim.id, peer=progress.peer))
        if await self._record(
            claim, settlement, progress, answer_of(progress, partly=self._rules.partly)
        ):
            self._tell(claim, settlement, progress, now - progress.began)
        return settlement

    async def _withhold(self, claim: Claim, withheld: Withheld, progress: Progress) -> Settlement:
        progress.stop_run = withheld.verdict.stop_run
        decision = decide(
            withheld,
            claim,
            now=self._rules.clock(),
            schedule=self._rules.schedule,
            chance=random(),  # noqa: S311 -- a spread, no secret
        )
        if await self._record(claim, decision.settlement, progress, decision.answer):
            self._report(decision.event)
        return decision.settlement

    async def _record(
        self, claim: Claim, settlement: Settlement, progress: Progress, answer: Reply | None = None
    ) -> bool:
        """Settle the claim; False: the store could not, and the message will come again."""
        progress.settling = True
        try:
            await claim.settle(settlement, answer)
        except StoreError as error:
            self._report(StoreTrouble(doing=f"settling {claim.id}", reason=str(error)))
            if any(reply.accepted for reply in progress.replies.values()):
                self._report(PossibleDuplicate(id=claim.id, peer=progress.peer))
            progress.settling = False
            # It is due at once, and would go round and round.
            await asyncio.sleep(_STORE_PAUSE)
            return False
        progress.settling = False
        return True

    def _tell(
        self, claim: Claim, settlement: Settlement, progress: Progress, seconds: float
    ) -> None:
        accepted = [reply for reply in progress.replies.values() if reply.accepted]
        if accepted:
            self._report(
                Delivered(
                    id=claim.id,
                    peer=progress.peer,
                    recipients=len(accepted),
                    reply=str(accepted[-1]),
                    seconds=seconds,
                )
            )
        match settlement:
            case Fail(reason):
                self._report(Failed(id=claim.id, reason=str(reason)))
            case Defer(attempt) if not isinstance(progress.trouble, TurnedAway):
                when = attempt.next_attempt
                self._report(Deferred(id=claim.id, reason=_why(attempt), next_attempt=when))
            case _:
                pass  # delivered whole, or turned away, which was told once for the server


def answer_of(progress: Progress, *, partly: bool = False) -> Reply:
    """Give the answer for a client who waits: any refusal, or else what was said to the final dot.

    ``partly``: what was said to the final dot goes first, and whoever was refused is told of.
    What went wrong between us and the server is not the client's to know in detail, nor for good.
    """
    accepted = [reply for reply in progress.replies.values() if reply.accepted]
    if partly and accepted:
        return accepted[0]
    refusals = [reply for reply in progress.replies.values() if not reply.accepted]
    if refusals:
        return refusals[0]
    if progress.why is not None or not progress.replies:
        return _NOT_NOW
    return accepted[0]


def _why(attempt: Attempt) -> str:
    for address, reply in attempt.replies.items():
        if not reply.accepted and not reply.permanent:
            return f"{reply} <{address}>"
    return str(attempt.trouble or "no answer")
