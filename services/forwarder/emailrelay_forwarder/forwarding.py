"""One claimed message from its route to its settlement."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from random import random

from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
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
from emailrelay.routes import Leg, Routes, legs
from emailrelay.schedule import Schedule
from emailrelay.settlement import (
    Defer,
    Done,
    Fail,
    Settlement,
    refusals_final,
)
from emailrelay.store.base import Claim
from emailrelay.store.limits import Limits
from emailrelay_forwarder.client_filter import ClientFilters, Withheld, decide
from emailrelay_forwarder.delivery import NoLongerWanted, Progress, deliver, stale, wants_less
from emailrelay_forwarder.network import Network
from emailrelay_forwarder.outgoing import Outgoing, as_it_is, everybody, for_all
from emailrelay_forwarder.policy import Policy
from emailrelay_forwarder.retry import after_legs
from emailrelay_forwarder.route import NoRoute, Route
from emailrelay_forwarder.smarthost import Smarthost, TurnedAway
from emailrelay_forwarder.smtp_client import Session
from emailrelay_forwarder.throttle import for_now, too_much
from emailrelay_forwarder.trouble import NotYet, SessionTrouble
from emailrelay_forwarder.ways import accepted, close_leg, elsewhere, on_leg

_NOT_NOW = Reply(451, "4.4.0 the next mail server cannot be used right now")
_STORE_PAUSE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What stays the same for all messages."""

    routes: Routes
    most: int
    """Connections to one server."""
    schedule: Schedule
    """For what has no route; a route has its own."""
    open_session: Callable[[Route], Awaitable[Session]]
    limits: Callable[[str], Limits]
    """Gives what all processes share of a route, by its name."""
    policy: Policy = field(default_factory=Policy)
    """What must hold on connections to all servers, as far as their route says nothing else."""
    report: Report
    clock: Callable[[], float]
    filters: ClientFilters | None = None
    partly: bool = False
    """Whether a client who waits is told yes when some of the recipients were accepted."""
    no_retry: bool = False
    """Whether every refusal is final; what refused nobody is tried again all the same."""


class Forwarding:
    """The routes in use, and the way of a message over them. ``recovered``: see ``Smarthost``."""

    def __init__(self, rules: Rules, recovered: Callable[[], None]) -> None:
        self._rules = rules
        self._report = rules.report
        self._network = Network(
            rules.open_session,
            most=rules.most,
            policy=rules.policy,
            limits=rules.limits,
            report=rules.report,
            clock=rules.clock,
            recovered=recovered,
        )

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
        return self._network.paused

    def try_now(self) -> None:
        """End the pauses of all servers."""
        self._network.try_now()

    async def close(self) -> None:
        """Part from all servers."""
        await self._network.close()

    async def _attempt(self, claim: Claim, progress: Progress) -> None:
        """Fill ``progress``; its peer is the server's name until it is reached."""
        progress.began = self._rules.clock()
        try:
            message = progress.message = await self._outgoing(claim, progress)
            await self._all_legs(message, progress)
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
            self._network.turn_away_if_paused(self._legs(claim, claim.envelope))
            cleared = await self._rules.filters.run(claim)
            message, progress.stop_run = cleared.message, cleared.stop_run
        return message

    def _legs(self, claim: Claim, envelope: Envelope) -> list[Leg]:
        return legs(self._rules.routes, envelope, claim.history.pending(envelope))

    async def _all_legs(self, message: Outgoing, progress: Progress) -> None:
        """Go every way that the recipients need; trouble on one does not stop the others.

        Where one answer counts for all recipients, a refusal ends the attempt while nobody has the
        message yet; after that, those who are refused are told of.
        """
        ways = self._legs(message.claim, message.envelope)
        if len(ways) == 1:
            await self._leg(message, ways[0], progress)
            return
        peers: list[str] = []
        for leg in ways:
            await self._leg(message, leg, progress)
            peers.append(progress.peer)
            if progress.doubtful:
                self._report(PossibleDuplicate(id=message.claim.id, peer=progress.peer))
            answered = close_leg(progress, leg.recipients)
            if not answered and self._together(message.claim) and not accepted(progress):
                break
        progress.peer = ", ".join(dict.fromkeys(peers))

    async def _leg(self, message: Outgoing, leg: Leg, progress: Progress) -> None:
        """Offer the message to the servers of one route in turn, until one can be used."""
        try:
            line = self._network.line(leg)
            progress.peer = str(line.smarthosts[0][0])
            line.turn_away_if_paused()
            await line.gate.permit()
        except NoRoute as error:
            progress.obstacle = Reply.of(451, f"4.3.5 {error}")
            return
        except SessionTrouble as trouble:
            progress.trouble = trouble
            return
        part = on_leg(message, leg)
        first: SessionTrouble | None = None
        for server, smarthost in line.smarthosts:
            progress.trouble, progress.peer = None, str(server)
            while await self._wants_fresh_session(part, smarthost, progress):
                pass
            if not elsewhere(progress):
                return
            first = first or progress.trouble
        progress.trouble = first

    def _together(self, claim: Claim) -> bool:
        """Whether there is one answer for all recipients."""
        return claim.ack is Ack.DELIVERED and not self._rules.partly

    async def _wants_fresh_session(
        self, message: Outgoing, smarthost: Smarthost, progress: Progress
    ) -> bool:
        """Deliver over one session; tell whether the rest should have a fresh one at once."""
        session: Session | None = None
        owner = message.claim.history.session if message.claim.ack is Ack.DELIVERED else ""
        together = self._together(message.claim)
        try:
            async with smarthost.session(owner) as session:
                progress.peer = session.peer
                await deliver(message, session, progress, together=together)
        except SessionTrouble as trouble:
            if session is not None and stale(trouble, progress, session):
                return True
            progress.trouble = trouble
        for recipient in message.envelope.recipients:
            if (reply := progress.replies.get(recipient)) is None or reply.accepted:
                continue
            reply = progress.replies[recipient] = for_now(reply)
            if too_much(reply):
                smarthost.slow_down(reply)
            elif wants_less(reply):
                smarthost.restrain()
        return False

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
        ways = self._legs(claim, envelope)
        settlement = after_legs(
            envelope,
            claim.history,
            attempt,
            schedules={r: leg.route.schedule for leg in ways if leg.route for r in leg.recipients},
            usual=self._rules.schedule,
            chance=random(),  # noqa: S311 -- a spread, no secret
        )
        if isinstance(settlement, Defer) and isinstance(progress.trouble, NotYet):
            turn = replace(settlement.attempt, next_attempt=progress.trouble.again)
            settlement = Defer(turn)
        if progress.doubtful:
            self._report(PossibleDuplicate(id=claim.id, peer=progress.peer))
        if await self._record(
            claim,
            settlement,
            progress,
            answer_of(progress, partly=self._rules.partly or len(ways) > 1),
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
        taken = [reply for reply in progress.replies.values() if reply.accepted]
        if taken:
            self._report(
                Delivered(
                    id=claim.id,
                    peer=progress.peer,
                    recipients=len(taken),
                    reply=str(taken[-1]),
                    seconds=seconds,
                )
            )
        match settlement:
            case Fail(reason):
                self._report(Failed(id=claim.id, reason=str(reason)))
            case Defer(attempt) if not isinstance(progress.trouble, TurnedAway | NotYet):
                when = attempt.next_attempt
                self._report(Deferred(id=claim.id, reason=_why(attempt), next_attempt=when))
            case _:
                pass  # delivered whole, or turned away, which was told once for server or route


def answer_of(progress: Progress, *, partly: bool = False) -> Reply:
    """Give the answer for a client who waits: any refusal, or else what was said to the final dot.

    ``partly``: what was said to the final dot goes first, and whoever was refused is told of.
    What went wrong between us and the server is not the client's to know in detail, nor for good.
    """
    taken = [reply for reply in progress.replies.values() if reply.accepted]
    if partly and taken:
        return taken[0]
    refusals = [reply for reply in progress.replies.values() if not reply.accepted]
    if refusals:
        return refusals[0]
    if progress.why is not None or not progress.replies:
        return _NOT_NOW
    return taken[0]


def _why(attempt: Attempt) -> str:
    for address, reply in attempt.replies.items():
        if not reply.accepted and not reply.permanent:
            return f"{reply} <{address}>"
    return str(attempt.trouble or "no answer")
