"""One attempt: each route that the recipients need, and on each the first server that works."""

import asyncio
import traceback
from collections.abc import Sequence
from contextlib import suppress

from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events.service import InternalError
from emailrelay.events.store import PossibleDuplicate, StoreTrouble
from emailrelay.mail_fields import mail_fields
from emailrelay.reply import Reply
from emailrelay.routes import RouteGroup, by_route
from emailrelay.store.claim import Claim
from emailrelay_forwarder.delivery.client_filter import ClientFilters, Withheld
from emailrelay_forwarder.delivery.delivery import NoLongerWanted, Progress, deliver, stale
from emailrelay_forwarder.delivery.local_mail import refusals, remote
from emailrelay_forwarder.delivery.outgoing import Outgoing, as_it_is
from emailrelay_forwarder.delivery.route_groups import Stops, accepted, elsewhere, for_group
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.delivery.throttling import heed, turn
from emailrelay_forwarder.server.named_servers import NoPlace
from emailrelay_forwarder.server.open_routes import OpenRoutes
from emailrelay_forwarder.server.smarthost import Smarthost
from emailrelay_forwarder.session.route import NoRoute
from emailrelay_forwarder.session.session_error import NotYet, SessionError
from emailrelay_forwarder.session.smtp_client import Session


class Attempts:
    """Makes attempts by these rules over these routes."""

    def __init__(self, rules: Rules, open_routes: OpenRoutes) -> None:
        self._rules = rules
        self._report = rules.report
        self._open_routes = open_routes

    async def make(self, claim: Claim, progress: Progress) -> None:
        """Fill ``progress``; its peer is the server's name until it is reached.

        Raises:
            NoLongerWanted: the waiting client has gone.
            Withheld: a client filter does not let the message go out.

        """
        progress.began = self._rules.clock()
        try:
            message = as_it_is(claim)
            if self._rules.filters is not None:
                message = await self._filtered(claim, self._rules.filters, progress)
            progress.message, envelope = message, message.envelope
            if envelope.to_local:
                progress.replies.update(refusals(envelope, claim.history.pending(envelope)))
            if progress.replies and self._together(claim):
                return
            groups = progress.groups = self.groups(claim, envelope)
            if len(groups) == 1:
                await self._group(message, groups[0], progress)
            else:
                await self._all_groups(message, groups, progress)
        except SessionError as trouble:
            progress.trouble = trouble
        except StoreError as error:
            self._report(StoreTrouble(doing=f"reading {claim.id}", reason=str(error)))
            progress.obstacle = Reply(451, "4.3.0 the content cannot be read now")
        except (NoLongerWanted, Withheld):
            raise
        except Exception as error:  # noqa: BLE001 -- a bug in one delivery must not stop the others
            trace = "".join(traceback.format_exception(error))
            self._report(InternalError(doing=f"forwarding {claim.id}", reason=trace))
            progress.obstacle = Reply(451, "4.3.0 internal error")

    def groups(self, claim: Claim, envelope: Envelope) -> list[RouteGroup]:
        """Return the pending recipients, grouped by route."""
        pending = remote(envelope, claim.history.pending(envelope))
        return by_route(self._rules.routes, envelope, pending)

    async def _filtered(self, claim: Claim, filters: ClientFilters, progress: Progress) -> Outgoing:
        """Return the message as client filters leave it."""
        # The filters do not run for mail that would be turned away.
        groups = self.groups(claim, claim.envelope)
        if claim.history.wanted_now:
            for group in groups:
                with suppress(NoRoute):  # a filter may still name its server
                    await self._open_routes.route(group).tried_now()
        self._open_routes.turn_away_if_paused(groups, claim.id)
        message, verdict = await filters.run(claim, self._report)
        progress.stop_run = verdict.stop_run
        refused = {each.address: each.reply for each in verdict.refused}
        pending = claim.history.pending(claim.envelope)
        progress.replies.update((a, r) for a, r in refused.items() if a in pending)
        return message

    async def _all_groups(
        self, message: Outgoing, groups: Sequence[RouteGroup], progress: Progress
    ) -> None:
        """Deliver to each group of recipients; trouble with one does not stop the others.

        With one answer for all recipients, a refusal ends the attempt as long as no recipient has
        the message. After that, a notice names the refused ones.
        """
        stops = Stops()
        for number, group in enumerate(groups, 1):
            # A slow route must not delay the connections of the others.
            progress.last_group = number == len(groups)
            await self._group(message, group, progress)
            if progress.doubtful:
                about = mail_fields(message.claim.envelope)
                self._report(PossibleDuplicate(id=message.claim.id, peer=progress.peer, **about))
            stops.note(progress)
            whole = accepted(progress).issuperset(group.recipients)
            if not whole and self._together(message.claim) and not accepted(progress):
                break
        stops.tell(progress)

    async def _group(self, message: Outgoing, group: RouteGroup, progress: Progress) -> None:
        """Offer the message to the servers of one route in turn, until one works."""
        try:
            route = self._open_routes.route(group)
            progress.peer = route.smarthosts[0].name
            if message.claim.history.wanted_now:
                await route.tried_now()
            route.turn_away_if_paused(message.claim.id)
            await route.gate.permit()
        except NoRoute as error:
            progress.obstacle = Reply.of(451, f"4.3.5 {error}")
            return
        except SessionError as trouble:
            _stopped_by(trouble, progress)
            return
        part = for_group(message, group)
        first: SessionError | None = None
        for smarthost in route.smarthosts:
            progress.trouble, progress.peer, progress.tls = None, smarthost.name, ""
            answered = frozenset(progress.replies)
            while await self._wants_fresh_session(part, group.recipients, smarthost, progress):
                pass
            heed(part, smarthost, progress, self._rules, answered)
            if not elsewhere(progress):
                if progress.trouble is None:
                    route.forget(message.claim.id)
                return
            first = first or progress.trouble
            if _has_no_place(progress):
                break
        progress.trouble = first

    def _together(self, claim: Claim) -> bool:
        """Tell whether there is one answer for all recipients."""
        return claim.ack is Ack.DELIVERED and not self._rules.partly

    async def _wants_fresh_session(
        self,
        message: Outgoing,
        recipients: Sequence[Address],
        smarthost: Smarthost,
        progress: Progress,
    ) -> bool:
        """Deliver over one session; return whether the rest needs a fresh one at once."""
        session: Session | None = None
        old, settled = False, len(progress.replies)
        owner = message.claim.history.session if message.claim.ack is Ack.DELIVERED else ""
        together = self._together(message.claim)
        try:
            if wait := turn(smarthost, self._rules):
                await asyncio.sleep(wait)
            session = await smarthost.take(owner)
            old = session.used
            try:
                progress.peer, progress.offered = session.peer, self._rules.clock()
                progress.tls = session.tls
                await deliver(message, recipients, session, progress, together=together)
            except BaseException as error:  # cancelled as well: the session must not be used again
                smarthost.end(session, error)
                raise
            smarthost.end(session)
        except SessionError as trouble:
            helped = old or len(progress.replies) > settled
            if session is not None and stale(trouble, progress, session, helped=helped):
                return True
            _stopped_by(trouble, progress)
            if progress.turn is None:
                smarthost.pause.keep(message.claim.id)
        return False


def _stopped_by(trouble: SessionError, progress: Progress) -> None:
    progress.trouble = trouble
    if isinstance(trouble, NotYet):
        progress.turn = trouble.again


def _has_no_place(progress: Progress) -> bool:
    return isinstance(progress.trouble, NoPlace)
