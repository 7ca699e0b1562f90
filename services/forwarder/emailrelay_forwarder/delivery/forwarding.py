"""One claimed message from its attempt to its settlement."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import random

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.events import (
    Deferred,
    Delivered,
    Failed,
    PossibleDuplicate,
    StoreTrouble,
    Withdrawn,
)
from emailrelay.filter_decision import Run, decide
from emailrelay.journal import Attempt
from emailrelay.reply import Reply
from emailrelay.settlement import (
    Defer,
    Done,
    Fail,
    Settlement,
    after_attempt,
    refusals_final,
)
from emailrelay.store.base import Claim
from emailrelay_forwarder.delivery.attempt import Attempts
from emailrelay_forwarder.delivery.client_filter import Withheld
from emailrelay_forwarder.delivery.delivery import NoLongerWanted, Progress
from emailrelay_forwarder.delivery.outgoing import for_all, with_added
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.server.open_routes import OpenRoutes
from emailrelay_forwarder.server.pause import TurnedAway

_NOT_NOW = Reply(451, "4.4.0 the next mail server cannot be used right now")
_STORE_PAUSE = 5.0


class Forwarding:
    """The routes in use, and the attempts over them. ``recovered``: see ``ServerPause``."""

    def __init__(self, rules: Rules, recovered: Callable[[], None]) -> None:
        self._rules = rules
        self._report = rules.report
        self._recovered, self._recoveries = recovered, 0
        self._open_routes = OpenRoutes(
            rules.open_session,
            most=rules.most,
            policy=rules.policy,
            limits=rules.limits,
            report=rules.report,
            clock=rules.clock,
            recovered=self._call_back,
        )
        self._attempts = Attempts(rules, self._open_routes)

    def _call_back(self) -> None:
        self._recoveries += 1
        self._recovered()

    async def forward(self, claim: Claim, progress: Progress) -> Settlement:
        """Make one attempt and settle the claim; return the settlement.

        If cancelled, it records the replies so far, and leaves the rest to another attempt.
        """
        try:
            return await self._forward(claim, progress)
        finally:
            progress.settled.set()

    async def _forward(self, claim: Claim, progress: Progress) -> Settlement:
        recoveries = self._recoveries
        try:
            await self._attempts.make(claim, progress)
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
        settlement = await self._settle(claim, progress)
        if progress.trouble is not None and self._recoveries != recoveries:
            # The call went out before the message was recorded as one that waits for it.
            self._recovered()
        return settlement

    @property
    def paused(self) -> bool:
        """True if the mail of some server is turned away now; it becomes due again later."""
        return self._open_routes.paused

    def try_now(self) -> None:
        """End the pauses of all servers."""
        self._open_routes.try_now()

    async def close(self) -> None:
        """Close the sessions with all servers."""
        await self._open_routes.close()

    async def _settle(self, claim: Claim, progress: Progress) -> Settlement:
        now = self._rules.clock()
        envelope, replies, groups = claim.envelope, progress.replies, progress.groups
        sent = envelope if progress.message is None else progress.message.envelope
        if sent is not claim.envelope:
            replies = for_all(claim.envelope, sent, replies, claim.history)
            envelope = with_added(claim.envelope, sent)
        if envelope is not sent or not groups:
            groups = self._attempts.groups(claim, envelope)
        attempt = Attempt(at=now, peer=progress.peer, replies=replies, trouble=progress.why)
        if self._rules.no_retry:
            attempt = refusals_final(attempt)
        settlement = after_attempt(
            envelope,
            claim.history,
            attempt,
            schedules={
                r: group.route.schedule for group in groups if group.route for r in group.recipients
            },
            schedule=self._rules.schedule,
            chance=random(),  # noqa: S311 -- a spread, no secret
        )
        if isinstance(settlement, Defer) and progress.turn is not None:
            turn = replace(settlement.attempt, next_attempt=progress.turn)
            settlement = Defer(turn)
        if progress.doubtful:
            self._report(PossibleDuplicate(id=claim.id, peer=progress.peer))
        answer = None
        if claim.ack is not Ack.STORED:
            answer = answer_of(progress, partly=self._rules.partly or len(groups) > 1)
        if await self._record(claim, settlement, progress, answer):
            self._tell(claim, settlement, progress, now - progress.began)
        return settlement

    async def _withhold(self, claim: Claim, withheld: Withheld, progress: Progress) -> Settlement:
        progress.stop_run = withheld.spoken.verdict.stop_run
        now = self._rules.clock()
        run = Run(
            message=claim.id,
            history=claim.history,
            ack=claim.ack,
            ended=now,
            seconds=now - progress.began,
            chance=random(),  # noqa: S311 -- a spread, no secret
        )
        decision = decide(withheld.spoken, run, self._rules.schedule)
        if await self._record(claim, decision.settlement, progress, decision.answer):
            self._report(decision.event)
        return decision.settlement

    async def _record(
        self, claim: Claim, settlement: Settlement, progress: Progress, answer: Reply | None = None
    ) -> bool:
        """Settle the claim; False: the store failed, and the message will come again."""
        progress.settling = True
        try:
            heard = await claim.settle(settlement, answer)
        except StoreError as error:
            self._report(StoreTrouble(doing=f"settling {claim.id}", reason=str(error)))
            if any(reply.accepted for reply in progress.replies.values()):
                self._report(PossibleDuplicate(id=claim.id, peer=progress.peer))
            progress.settling = False
            # The message is due at once, and would be tried without pause.
            await asyncio.sleep(_STORE_PAUSE)
            return False
        progress.settling = False
        if not heard:
            self._report(PossibleDuplicate(id=claim.id, peer=progress.peer))
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
            case Defer(attempt) if not _told_already(progress):
                when = attempt.next_attempt
                why = _why(attempt, progress)
                self._report(Deferred(id=claim.id, reason=why, next_attempt=when))
            case _:
                pass  # delivered to all; or turned away, which the log says once for all mail


def _told_already(progress: Progress) -> bool:
    """Tell whether the log gives the reason already, once for the server or route."""
    return progress.turn is not None or isinstance(progress.trouble, TurnedAway)


def answer_of(progress: Progress, *, partly: bool = False) -> Reply:
    """Return the reply for a waiting client: any refusal, or else the reply to the final dot.

    ``partly``: the reply to the final dot takes precedence; a notice names the refused recipients.
    Trouble between this relay and the server is temporary for the client, and without details.
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


def _why(attempt: Attempt, progress: Progress) -> str:
    """Return why a message waits, and the source of the reason: the server, or this relay."""
    for address, reply in attempt.replies.items():
        if not reply.accepted and not reply.permanent:
            return f"{attempt.peer} said: {reply} <{address}>"
    return str(progress.obstacle or progress.trouble or "no answer")
