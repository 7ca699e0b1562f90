"""How a claim ends: a closed set of values, and the rules that choose one."""

from dataclasses import dataclass, replace
from typing import TypeAlias

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, History
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Pass:
    """The filter chain said yes: what it made of the work copy, if anything, becomes the message."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do for any recipient: the message may go."""


@dataclass(frozen=True, slots=True)
class Defer:
    """To be tried again at ``attempt.next_attempt``."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Fail:
    """Given up, and kept with ``reason``; ``attempt`` is the try that decided it, if one did."""

    reason: Reply
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Set aside until the operator releases it."""


Settlement: TypeAlias = Pass | Done | Defer | Fail | Hold


def after_attempt(
    envelope: Envelope,
    history: History,
    attempt: Attempt,
    *,
    schedule: Schedule,
    chance: float,
) -> Settlement:
    """Decide what a delivery attempt means for the message.

    Recipients accepted are done with, recipients refused with 5yz are given up, all others are tried
    again until the message is too old. A message with any recipient given up fails once nobody is
    left to try, so that its sender hears of it.

    Args:
        envelope: the message's envelope, with all recipients.
        history: what happened before this attempt.
        attempt: this attempt's replies; its ``next_attempt`` is ignored.
        schedule: the pauses and the greatest age.
        chance: a random number in [0, 1) for the spread of the pauses.

    """
    now = attempt.at
    refused = {**history.refused, **{a: r for a, r in attempt.replies.items() if r.permanent}}
    pending = [
        r
        for r in history.pending(envelope)
        if not (reply := attempt.replies.get(r)) or not (reply.accepted or reply.permanent)
    ]
    if not pending:
        return Fail(_refusal(refused), attempt) if refused else Done()
    started = now if history.started_at is None else history.started_at
    if schedule.expired(accepted_at=started, now=now):
        return Fail(_given_up(pending[0], attempt, schedule), attempt)
    when = schedule.next_attempt(now=now, attempts=history.attempts + 1, chance=chance)
    return Defer(replace(attempt, next_attempt=when))


def after_trouble(
    history: History, trouble: Reply, *, now: float, peer: str, schedule: Schedule, chance: float
) -> Defer | Fail:
    """Decide after a try that reached no verdict on any recipient (a filter's 4yz, no connection)."""
    started = now if history.started_at is None else history.started_at
    if schedule.expired(accepted_at=started, now=now):
        return Fail(_too_old(str(trouble), schedule), Attempt(at=now, peer=peer, trouble=trouble))
    return after_skip(history, trouble, now=now, peer=peer, schedule=schedule, chance=chance)


def after_skip(
    history: History, why: Reply, *, now: float, peer: str, schedule: Schedule, chance: float
) -> Defer:
    """Decide after a try that was not wanted at this time: the message waits, however old it is."""
    when = schedule.next_attempt(now=now, attempts=history.attempts + 1, chance=chance)
    return Defer(Attempt(at=now, peer=peer, trouble=why, next_attempt=when))


def refusals_final(attempt: Attempt) -> Attempt:
    """Take every refusal of an attempt for one that is for good (``--no-retry``).

    What stopped the attempt itself, a server away or a connection lost, refused nobody.
    """
    return replace(attempt, replies={who: _final(reply) for who, reply in attempt.replies.items()})


def _final(reply: Reply) -> Reply:
    if reply.accepted or reply.permanent:
        return reply
    return Reply.of(554, f"5.0.0 refused, and not tried again: {reply}")


def _refusal(refused: dict[Address, Reply]) -> Reply:
    address, reply = next(iter(refused.items()))
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return Reply.of(reply.code, f"{reply.text} <{address}>{more}")


def _given_up(address: Address, attempt: Attempt, schedule: Schedule) -> Reply:
    reply = attempt.replies.get(address) or attempt.trouble
    return _too_old(f"{reply} <{address}>" if reply else f"<{address}>", schedule)


def _too_old(last: str, schedule: Schedule) -> Reply:
    days = schedule.max_age / 86400
    return Reply.of(554, f"5.4.7 not delivered within {days:.3g} days, last try: {last}")
