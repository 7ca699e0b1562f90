"""The login of a client within its session (RFC 4954)."""

import asyncio
import secrets

from emailrelay.client_source import source_of
from emailrelay.events.receiving import LoggedIn, LoginFailed
from emailrelay.login_attempts import LoginAttempt
from emailrelay.reply import Reply
from emailrelay_receiver.clients.client_rules import TooBusy
from emailrelay_receiver.connection.channel import ClientChannel
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue import sasl
from emailrelay_receiver.dialogue.access import ClientStanding
from emailrelay_receiver.dialogue.arguments import Refused
from emailrelay_receiver.dialogue.outcomes import Authenticate, Goodbye

_MOST_FAILURES = 4
"""Wrong passwords and unfinished exchanges after which the session ends."""

_WELCOME = Reply(235, "2.7.0 welcome")
_ENOUGH = Reply(421, "4.7.0 too many failures")
_TOO_MANY = Reply(454, "4.7.0 too many logins in progress, try again later")


async def log_in(
    context: ReceiverContext,
    standing: ClientStanding,
    wanted: Authenticate,
    channel: ClientChannel,
) -> Reply | Goodbye:
    """Authenticate a client. Each failure delays the reply more; the last one ends the session.

    Raises:
        LineTooLong, EOFError, ConnectionError: see ``ClientChannel.line``.

    """
    try:
        claim = await _exchange(context, wanted, channel)
    except Refused as refused:
        return await _failed(context, standing, wanted, "", channel, refusal=refused.reply)
    source = source_of(standing.address)
    attempt = context.attempts.begin(source, claim.user)
    if attempt is None and not context.rules.checks(claim):
        return _turned_away(standing)
    try:
        proved = await context.rules.proves(claim, known=attempt is not None and attempt.known)
    except BaseException as error:
        if attempt is not None:
            attempt.end()
        if isinstance(error, TooBusy):
            return _turned_away(standing)
        raise
    if not proved:
        return await _failed(context, standing, wanted, claim.user, channel, attempt=attempt)
    if attempt is not None:
        attempt.end()
    context.attempts.succeeded(source, claim.user)
    standing.user, standing.mechanism = claim.user, wanted.mechanism
    context.report(
        LoggedIn(
            user=claim.user,
            mechanism=wanted.mechanism,
            client=standing.address,
            port=channel.log.port,
        )
    )
    return _WELCOME


def _turned_away(standing: ClientStanding) -> Reply | Goodbye:
    """Refuse, as too many logins are in progress; end a session that tries again and again."""
    standing.failures += 1
    return Goodbye(_ENOUGH) if standing.failures >= _MOST_FAILURES else _TOO_MANY


async def _failed(
    context: ReceiverContext,
    standing: ClientStanding,
    wanted: Authenticate,
    user: str,
    channel: ClientChannel,
    *,
    attempt: LoginAttempt | None = None,
    refusal: Reply = sasl.WRONG,
) -> Reply | Goodbye:
    """Count a failure and delay the reply.

    An ``attempt`` ends after the delay, even if the connection is lost before.
    """
    standing.failures += 1
    of_source = context.attempts.failed(source_of(standing.address), user)
    seconds = context.login_pause * max(of_source, standing.failures)
    if attempt is not None:
        asyncio.get_running_loop().call_later(seconds, attempt.end)
    context.report(
        LoginFailed(
            user=user, mechanism=wanted.mechanism, client=standing.address, port=channel.log.port
        )
    )
    channel.limits.phase = Phase.PAUSING
    await channel.wire.pause(seconds)
    channel.limits.phase = Phase.WORKING
    return Goodbye(_ENOUGH) if standing.failures >= _MOST_FAILURES else refusal


async def _exchange(
    context: ReceiverContext, wanted: Authenticate, channel: ClientChannel
) -> sasl.Credentials:
    """Send challenges and read the responses."""
    challenge = f"<{secrets.token_hex(16)}@{context.offer.domain}>".encode()
    exchange = sasl.exchange(wanted.mechanism, wanted.initial, challenge)
    try:
        asked = next(exchange)
        while True:
            prompt = sasl.prompt(asked)
            # With the blank even if nothing follows (RFC 4954 section 4).
            channel.reply_line(f"{prompt.code} {prompt.text}")
            asked = exchange.send(sasl.decode(await channel.line(secret=True)))
    except StopIteration as end:
        claim: sasl.Credentials = end.value
        return claim
