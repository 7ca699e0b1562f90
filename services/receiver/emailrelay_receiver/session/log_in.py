"""How a client proves who it is, within a session (RFC 4954)."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from emailrelay.events import LoggedIn, LoginFailed
from emailrelay.reply import Reply
from emailrelay_receiver.clients.client_rules import TooBusy
from emailrelay_receiver.clients.login_attempts import LoginAttempt
from emailrelay_receiver.clients.source import source_of
from emailrelay_receiver.context import House
from emailrelay_receiver.dialogue import sasl
from emailrelay_receiver.dialogue.access import ClientStanding
from emailrelay_receiver.dialogue.arguments import Refused
from emailrelay_receiver.dialogue.outcomes import Authenticate, Goodbye

_MOST_FAILURES = 4
"""Wrong passwords and unfinished exchanges after which the session ends."""

_WELCOME = Reply(235, "2.7.0 welcome")
_ENOUGH = Reply(421, "4.7.0 too many failures")
_TOO_MANY = Reply(454, "4.7.0 too many logins under way, try again later")


async def log_in(
    house: House,
    standing: ClientStanding,
    wanted: Authenticate,
    ask: Callable[[Reply], Awaitable[bytes]],
    pause: Callable[[float], Awaitable[None]],
) -> Reply | Goodbye:
    """Have a client prove who it is; ``ask`` says a challenge and gives the line that answers it.

    A failure makes the answer later each time, by ``pause`` with a number of seconds, and the last one
    ends the session.
    """
    try:
        claim = await _claim(house, wanted, ask)
    except Refused as refused:
        return await _failed(house, standing, wanted, "", pause, refusal=refused.reply)
    source = source_of(standing.address)
    attempt = house.attempts.begin(source, claim.user)
    if attempt is None and not house.gate.checks(claim):
        return _turned_away(standing)
    try:
        proved = await house.gate.proves(claim, known=attempt is not None and attempt.known)
    except BaseException as error:
        if attempt is not None:
            attempt.end()
        if isinstance(error, TooBusy):
            return _turned_away(standing)
        raise
    if not proved:
        return await _failed(house, standing, wanted, claim.user, pause, attempt=attempt)
    if attempt is not None:
        attempt.end()
    house.attempts.succeeded(source, claim.user)
    return _welcome(house, standing, wanted, claim.user)


def _welcome(house: House, standing: ClientStanding, wanted: Authenticate, user: str) -> Reply:
    standing.user, standing.mechanism = user, wanted.mechanism
    house.report(
        LoggedIn(user=user, mechanism=wanted.mechanism, client=standing.address, port=standing.port)
    )
    return _WELCOME


def _turned_away(standing: ClientStanding) -> Reply | Goodbye:
    """Say that too many log in; who asks again and again in one session is told to go."""
    standing.failures += 1
    return Goodbye(_ENOUGH) if standing.failures >= _MOST_FAILURES else _TOO_MANY


async def _failed(
    house: House,
    standing: ClientStanding,
    wanted: Authenticate,
    user: str,
    pause: Callable[[float], Awaitable[None]],
    *,
    attempt: LoginAttempt | None = None,
    refusal: Reply = sasl.WRONG,
) -> Reply | Goodbye:
    """Count a failure and answer late. An ``attempt`` ends then, also if the client has gone before."""
    standing.failures += 1
    of_source = house.attempts.failed(source_of(standing.address), user)
    seconds = house.login_pause * max(of_source, standing.failures)
    if attempt is not None:
        asyncio.get_running_loop().call_later(seconds, attempt.end)
    house.report(
        LoginFailed(
            user=user, mechanism=wanted.mechanism, client=standing.address, port=standing.port
        )
    )
    await pause(seconds)
    return Goodbye(_ENOUGH) if standing.failures >= _MOST_FAILURES else refusal


async def _claim(
    house: House, wanted: Authenticate, ask: Callable[[Reply], Awaitable[bytes]]
) -> sasl.Credentials:
    challenge = f"<{secrets.token_hex(16)}@{house.offer.domain}>".encode()
    exchange = sasl.exchange(wanted.mechanism, wanted.initial, challenge)
    try:
        asked = next(exchange)
        while True:
            asked = exchange.send(sasl.decode(await ask(sasl.prompt(asked))))
    except StopIteration as end:
        claim: sasl.Credentials = end.value
        return claim
