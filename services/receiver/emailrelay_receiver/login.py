"""How a client proves who it is, within a session (RFC 4954)."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from emailrelay.events import LoggedIn, LoginFailed
from emailrelay.reply import Reply
from emailrelay_receiver import sasl
from emailrelay_receiver.access import Standing
from emailrelay_receiver.house import House
from emailrelay_receiver.outcomes import Authenticate, Goodbye
from emailrelay_receiver.policy import Refused

_MOST_FAILURES = 4
"""Wrong passwords and unfinished exchanges after which the session ends."""

_WELCOME = Reply(235, "2.7.0 welcome")
_ENOUGH = Reply(421, "4.7.0 too many failures")


async def log_in(
    house: House,
    standing: Standing,
    wanted: Authenticate,
    ask: Callable[[Reply], Awaitable[bytes]],
) -> Reply | Goodbye:
    """Have a client prove who it is; ``ask`` says a challenge and gives the line that answers it.

    A failure makes the answer later each time, and the last one ends the session.
    """
    try:
        claim = await _claim(house, wanted, ask)
        proved = await house.gate.proves(claim)
        user, refusal = claim.user, sasl.WRONG
    except Refused as refused:
        proved, user, refusal = False, "", refused.reply
    if proved:
        standing.user, standing.mechanism = user, wanted.mechanism
        house.report(
            LoggedIn(
                user=user,
                mechanism=wanted.mechanism,
                client=standing.address,
                port=standing.port,
            )
        )
        return _WELCOME
    standing.failures += 1
    house.report(
        LoginFailed(
            user=user, mechanism=wanted.mechanism, client=standing.address, port=standing.port
        )
    )
    await asyncio.sleep(house.login_pause * standing.failures)
    return Goodbye(_ENOUGH) if standing.failures >= _MOST_FAILURES else refusal


async def _claim(
    house: House, wanted: Authenticate, ask: Callable[[Reply], Awaitable[bytes]]
) -> sasl.Claim:
    challenge = f"<{secrets.token_hex(16)}@{house.offer.domain}>".encode()
    exchange = sasl.exchange(wanted.mechanism, wanted.initial, challenge)
    try:
        asked = next(exchange)
        while True:
            asked = exchange.send(sasl.decode(await ask(sasl.prompt(asked))))
    except StopIteration as end:
        claim: sasl.Claim = end.value
        return claim
