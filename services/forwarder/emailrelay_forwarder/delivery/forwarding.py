"""One claimed message from its attempt to its settlement."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import random

from emailrelay.ack import Ack
from emailrelay.envelope import Address
from emailrelay.errors import StoreError
from emailrelay.events.delivery import (
    Deferred,
    Delivered,
    DeliveryRefused,
    Failed,
    RecipientsRefused,
    Withdrawn,
)
from emailrelay.events.store import PossibleDuplicate, StoreTrouble
from emailrelay.filter_decision import Run, decide, filtered
from emailrelay.filters.verdict import Side
from emailrelay.journal import Attempt
from emailrelay.mail_fields import mail_fields
from emailrelay.message_end import MessageEnd
from emailrelay.process_state import ProcessState
from emailrelay.reply import Reply
from emailrelay.settlement import (
    Defer,
    Done,
    Fail,
    Settlement,
    after_attempt,
    refusals_final,
    with_address,
)
from emailrelay.store.claim import Claim
from emailrelay_forwarder.delivery.attempt import Attempts
from emailrelay_forwarder.delivery.client_filter import Withheld
from emailrelay_forwarder.delivery.delivery import NoLongerWanted, Progress
from emailrelay_forwarder.delivery.outgoing import for_all, with_added
from emailrelay_forwarder.delivery.recipient_check import RecipientCheck
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.server.open_routes import OpenRoutes
from emailrelay_forwarder.server.pause import TurnedAway
from emailrelay_forwarder.server.waiting_mail import OnRecovery, Recall

_NOT_NOW = Reply(451, "4.4.0 the next mail server cannot be used right now")
_STORE_PAUSE = 5.0


class Forwarding:
    """The routes in use, and the attempts over them. ``recovered``: see ``ServerPause``."""

    def __init__(self, rules: Rules, recovered: OnRecovery) -> None:
        self._rules = rules
        self._report = rules.report
        self._recovered = recovered
        self._in_hand: dict[Claim, bool] = {}
        """The claims in hand; True: the message was to be made due meanwhile.

        Two claims may have the same message: a database gives it again when a lease has run out.
        """
        self._open_routes = OpenRoutes(
            rules.open_session,
            most=rules.most,
            policy=rules.policy,
            limits=rules.limits,
            report=rules.report,
            clock=rules.clock,
            recovered=self._call_back,
            places=rules.places,
        )
        self._attempts = Attempts(rules, self._open_routes)
        loop = asyncio.get_running_loop()
        self.recipient_check = RecipientCheck(rules, self._open_routes, loop.time)
        """Answers questions about recipients over the same routes."""

    def _call_back(self, recall: Recall) -> None:
        called = frozenset(recall.messages)
        for claim in self._in_hand:
            if recall.more or claim.id in called:
                self._in_hand[claim] = True
        in_hand = {claim.id for claim in self._in_hand}
        others = [message for message in recall.messages if message not in in_hand]
        self._recovered(Recall(others, recall.more))

    async def forward(self, claim: Claim, progress: Progress) -> Settlement:
        """Make one attempt and settle the claim; return the settlement.

        If cancelled, it records the replies so far, and leaves the rest to another attempt.
        """
        self._in_hand[claim] = False
        try:
            try:
                await self._attempts.make(claim, progress)
            except NoLongerWanted:
                return await self._withdraw(claim, progress)
            except Withheld as withheld:
                return await self._withhold(claim, withheld, progress)
            except asyncio.CancelledError:
                if progress.at_dot or any(reply.accepted for reply in progress.replies.values()):
                    progress.obstacle = Reply(451, "4.3.2 stopped before the message was done")
                    await self._settle(claim, progress)
                raise
            settlement = await self._settle(claim, progress)
        finally:
            progress.settled.set()
            called = self._in_hand.pop(claim)
        if called and progress.trouble is not None:
            # The server was back before the message was recorded as one that waits for it.
            self._recovered(Recall([claim.id]))
        return settlement

    @property
    def paused(self) -> bool:
        """True if the mail of some server is turned away now; it becomes due again later."""
        return self._open_routes.paused

    def state(self) -> ProcessState:
        """Return the state of deliveries: the routes in use, and the sessions.

        Mail does not go out if no route in use has a server that can be used.
        """
        routes = self._open_routes.troubles()
        stopped = next(iter(routes.values()), "") if all(routes.values()) else ""
        return ProcessState(
            trouble=f"no server can be used: {stopped}" if stopped else "",
            sessions=self._open_routes.sessions,
            routes=routes,
        )

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
        attempt = Attempt(
            at=now, peer=progress.peer, replies=replies, trouble=progress.why, tls=progress.tls
        )
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
            self._report_duplicate(claim, progress)
        answer = None
        if claim.ack is not Ack.STORED:
            answer = answer_of(progress, partly=self._rules.partly or len(groups) > 1)
        if await self._record(claim, settlement, progress, answer):
            if claim.ack is Ack.DELIVERED and answer is not None and not answer.accepted:
                if progress.trouble is not None:
                    self._open_routes.forget(claim.id)
                self._report_delivery_refused(claim, progress, answer)
            else:
                self._tell(claim, settlement, progress, now - progress.began)
        return settlement

    async def _withdraw(self, claim: Claim, progress: Progress) -> Settlement:
        withdrawn = Done(end=MessageEnd.WITHDRAWN)
        if await self._record(claim, withdrawn, progress):
            self._report(Withdrawn(id=claim.id, **mail_fields(claim.envelope)))
        return withdrawn

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
            about=mail_fields(claim.envelope, claim.history.pending(claim.envelope)),
            envelope=claim.envelope,
            side=Side.CLIENT,
        )
        decision = decide(withheld.spoken, run, self._rules.schedule)
        if await self._record(claim, decision.settlement, progress, decision.answer):
            self._report(filtered(withheld.spoken, claim.id))
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
                self._report_duplicate(claim, progress)
            progress.settling = False
            # The message is due at once, and would be tried without pause.
            await asyncio.sleep(_STORE_PAUSE)
            return False
        progress.settling = False
        if not heard:
            self._report_duplicate(claim, progress)
        return True

    def _report_duplicate(self, claim: Claim, progress: Progress) -> None:
        about = mail_fields(claim.envelope)
        self._report(PossibleDuplicate(id=claim.id, peer=progress.peer, **about))

    def _report_delivery_refused(self, claim: Claim, progress: Progress, answer: Reply) -> None:
        about, route = mail_fields(claim.envelope), _routes(progress, (), accepted=False)
        self._report(
            DeliveryRefused(
                id=claim.id,
                peer=progress.peer,
                reply=str(answer),
                reason=str(progress.obstacle or progress.trouble or answer),
                route=route,
                code=answer.code,
                **about,
            )
        )

    def _report_refused(self, claim: Claim, attempt: Attempt) -> None:
        refused = [who for who, reply in attempt.replies.items() if reply.permanent]
        if refused:
            about, reply = mail_fields(claim.envelope, refused), attempt.replies[refused[0]]
            event = RecipientsRefused(id=claim.id, peer=attempt.peer, reply=str(reply), **about)
            self._report(event)

    def _tell(
        self, claim: Claim, settlement: Settlement, progress: Progress, seconds: float
    ) -> None:
        envelope, replies = claim.envelope, progress.replies
        taken = [address for address, reply in replies.items() if reply.accepted]
        if taken:
            arrived = claim.history.accepted_at or progress.began
            self._report(
                Delivered(
                    id=claim.id,
                    peer=progress.peer,
                    reply=str(replies[taken[-1]]),
                    seconds=seconds,
                    route=_routes(progress, taken, accepted=True),
                    in_queue=progress.began + seconds - arrived,
                    **mail_fields(envelope, taken),
                )
            )
        match settlement:
            case Fail(reason):
                lost = [*claim.history.refused, *_without(claim, taken)]
                about, route = mail_fields(envelope, lost), _routes(progress, taken, accepted=False)
                why = str(reason)
                self._report(
                    Failed(id=claim.id, reason=why, route=route, code=reason.code, **about)
                )
            case Defer(attempt) if not _told_already(progress):
                code, why = _why(attempt, progress)
                when, route = attempt.next_attempt, _routes(progress, taken, accepted=False)
                self._report_refused(claim, attempt)
                ended = [who for who, reply in attempt.replies.items() if _is_final(reply)]
                about = mail_fields(envelope, _without(claim, ended))
                self._report(
                    Deferred(
                        id=claim.id, reason=why, next_attempt=when, route=route, code=code, **about
                    )
                )
            case _:
                pass  # delivered to all; or turned away, which the log says once for all mail


def _is_final(reply: Reply) -> bool:
    return reply.accepted or reply.permanent


def _without(claim: Claim, ended: Iterable[Address]) -> list[Address]:
    """Return the recipients that waited before an attempt, without those that it has ended."""
    ends = frozenset(ended)
    return [address for address in claim.history.pending(claim.envelope) if address not in ends]


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


def _why(attempt: Attempt, progress: Progress) -> tuple[int, str]:
    """Return why a message waits, as code and text with its source: the server, or this relay."""
    for address, reply in attempt.replies.items():
        if not reply.accepted and not reply.permanent:
            return reply.code, f"{attempt.peer} said: {with_address(str(reply), address)}"
    code = progress.why.code if progress.why else 0
    return code, str(progress.obstacle or progress.trouble or "no answer")


def _routes(progress: Progress, taken: Sequence[Address], *, accepted: bool) -> str:
    """Return the names of the routes on which some recipient was accepted, or was not."""
    good = frozenset(taken)
    found: list[str] = []
    for group in progress.groups:
        none = good.isdisjoint if accepted else good.issuperset
        if group.route is not None and not none(group.recipients):
            found.append(group.route.name)
    return ",".join(found)
