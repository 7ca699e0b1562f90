"""Answers the questions of receivers about recipients: what the next server says to them.

A server that does not answer must not make every client wait: after a question without an answer,
the route is asked again only after a pause, by a single question.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from emailrelay.reply import Reply
from emailrelay.routes import Route, RouteGroup, sender_on
from emailrelay.silence import Silence
from emailrelay_forwarder.delivery.recipient_cache import RecipientCache, RecipientKey
from emailrelay_forwarder.delivery.recipient_offer import offer_recipient
from emailrelay_forwarder.delivery.recipient_question import RecipientAnswer, RecipientQuestion
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.server.open_routes import OpenRoutes
from emailrelay_forwarder.server.smarthost import Smarthost
from emailrelay_forwarder.session.route import NoRoute
from emailrelay_forwarder.session.session_error import SessionError, SessionStep

WITHIN = 5.0
"""Seconds for an answer, with the time to connect, encrypt and sign in."""


class RecipientCheck:
    """The answers over these routes. ``time`` gives seconds that go forward."""

    def __init__(self, rules: Rules, open_routes: OpenRoutes, time: Callable[[], float]) -> None:
        self._rules, self._open_routes, self._time = rules, open_routes, time
        self._known = RecipientCache()
        self._silences = defaultdict[Route, Silence](Silence)

    async def ask(self, question: RecipientQuestion) -> RecipientAnswer:
        """Return the answer of the server that would get the message first."""
        choice = self._rules.routes.choose(question.envelope, question.recipient)
        route = choice.route
        if route is None:
            return RecipientAnswer(None, f"there is no route: {choice.why}")
        question = question._replace(sender=sender_on(route, question.sender))
        key = RecipientKey(route, question.sender, question.recipient, question.utf8)
        if known := self._known.get(key, self._time()):
            return RecipientAnswer(known)
        silence = self._silences[route]
        if silence.forbids(self._time()):
            return RecipientAnswer(None, f"route {route.name} gave no answer a short time ago")
        try:
            async with asyncio.timeout(WITHIN):
                reply = await self._of_route(RouteGroup(*choice, (question.recipient,)), question)
        except (TimeoutError, SessionError, NoRoute) as error:
            silence.begin(self._time())
            late = isinstance(error, TimeoutError)
            why = f"no answer within {WITHIN:g} s" if late else str(error)
            return RecipientAnswer(None, f"route {route.name}: {why}")
        silence.end()
        self._known.keep(key, reply, self._time())
        return RecipientAnswer(reply)

    async def _of_route(self, group: RouteGroup, question: RecipientQuestion) -> Reply:
        """Ask the servers of a route in turn, until one answers.

        Raises:
            SessionError: that of the first server, if none answers.
            NoRoute: the text of a server is invalid.

        """
        first: SessionError | None = None
        for smarthost in self._open_routes.route(group).smarthosts:
            try:
                return await _of_server(smarthost, question)
            except SessionError as trouble:
                first = first or trouble
        raise first or NoRoute("the route has no server")


async def _of_server(smarthost: Smarthost, question: RecipientQuestion) -> Reply:
    if smarthost.send_rate.rate is not None:
        text = f"4.7.0 {smarthost.name} wants mail more slowly"
        raise SessionError(SessionStep.MAIL, Reply(451, text), ours=True)
    while True:
        session = await smarthost.take(question.session)
        old, well = session.used, False
        try:
            reply = await offer_recipient(session, question)
            well = True
        except SessionError:
            if not old:
                raise
            continue  # a server may close a session at any time: a fresh one tells
        finally:
            smarthost.put_back(session, well=well)
        return reply
