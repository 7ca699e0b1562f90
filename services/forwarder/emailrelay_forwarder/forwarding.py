"""One claimed message from its route to its settlement."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import random

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
from emailrelay.settlement import Defer, Done, Fail, Settlement, after_attempt
from emailrelay.store.base import Claim
from emailrelay_forwarder.delivery import NoLongerWanted, Progress, deliver, stale
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
            route = route_of(claim.envelope, self._rules.forward_to)
            progress.peer = str(route)
            while await self._wants_fresh_session(claim, self._smarthost(route), progress):
                pass
        except NoRoute as error:
            progress.obstacle = Reply.of(451, f"4.3.5 {error}")
        except StoreError as error:
            self._report(StoreTrouble(doing=f"reading {claim.id}", reason=str(error)))
            progress.obstacle = Reply(451, "4.3.0 the content cannot be read now")
        except NoLongerWanted:
            raise
        except Exception as error:  # noqa: BLE001 -- an error of ours in one message must not stop all others
            trace = "".join(traceback.format_exception(error))
            self._report(InternalError(doing=f"forwarding {claim.id}", reason=trace))
            progress.obstacle = Reply(451, "4.3.0 internal error")

    async def _wants_fresh_session(
        self, claim: Claim, smarthost: Smarthost, progress: Progress
    ) -> bool:
        """Deliver over one session; tell whether the rest should have a fresh one at once."""
        session: Session | None = None
        try:
            async with smarthost.session() as session:
                progress.peer = session.peer
                await deliver(claim, session, progress)
        except SessionTrouble as trouble:
            if session is not None and stale(trouble, progress, session):
                return True
            progress.trouble = trouble
        return False

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
        attempt = Attempt(
            at=now, peer=progress.peer, replies=progress.replies, trouble=progress.why
        )
        settlement = after_attempt(
            claim.envelope,
            claim.history,
            attempt,
            schedule=self._rules.schedule,
            chance=random(),  # noqa: S311 -- a spread, no secret
        )
        if progress.doubtful:
            self._report(PossibleDuplicate(id=claim.id, peer=progress.peer))
        if await self._record(claim, settlement, progress, answer_of(progress)):
            self._tell(claim, settlement, progress, now - progress.began)
        return settlement

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


def answer_of(progress: Progress) -> Reply:
    """Give the answer for a client who waits: any refusal, or else what was said to the final dot.

    What went wrong between us and the server is not the client's to know in detail, nor for good.
    """
    refusals = [reply for reply in progress.replies.values() if not reply.accepted]
    if refusals:
        return refusals[0]
    if progress.why is not None or not progress.replies:
        return _NOT_NOW
    return next(iter(progress.replies.values()))


def _why(attempt: Attempt) -> str:
    for address, reply in attempt.replies.items():
        if not reply.accepted and not reply.permanent:
            return f"{reply} <{address}>"
    return str(attempt.trouble or "no answer")
