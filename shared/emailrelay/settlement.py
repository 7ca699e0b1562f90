"""The settlement of a claim: a closed set of values, and the rules that choose one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, History
from emailrelay.message_end import MessageEnd
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Pass:
    """The filter chain accepted: its changes in the work copy become the message."""

    quarantine: str | None = None
    """The reason to hold the message then, if a filter asks for it."""
    refused: Attempt | None = None
    """The replies for the recipients that a filter refused, if it refused some of them."""


@dataclass(frozen=True, slots=True)
class Done:
    """The message is removed; ``attempt`` is the try that ended it, if any."""

    attempt: Attempt | None = None
    end: MessageEnd = MessageEnd.DELIVERED


@dataclass(frozen=True, slots=True)
class Defer:
    """To be tried again at ``attempt.next_attempt``."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Fail:
    """Given up, and kept with ``reason``; ``attempt`` is the try that decided it, if any."""

    reason: Reply
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Set aside until the operator releases it."""

    reason: str = ""
    """A filter's; empty: the operator holds it."""


_DAY = 86400.0

Settlement: TypeAlias = Pass | Done | Defer | Fail | Hold


def after_attempt(
    envelope: Envelope,
    history: History,
    attempt: Attempt,
    *,
    schedule: Schedule,
    schedules: Mapping[Address, Schedule] = MappingProxyType({}),
    chance: float,
) -> Defer | Done | Fail:
    """Return the settlement after a delivery attempt.

    Accepted recipients are done. Recipients refused with 5yz are given up, and so are those whose
    schedule has ended. All others are tried again, at the earliest time of their schedules. A
    message with a recipient given up fails when no recipient is left to try, so that its sender
    gets a notice.

    Args:
        envelope: the message's envelope, with all recipients.
        history: the state before this attempt.
        attempt: this attempt's replies; its ``next_attempt`` is ignored.
        schedule: the pauses and the greatest age.
        schedules: the schedules of recipients that have one of their own, by their route.
        chance: a random number in [0, 1) for the spread of the pauses.

    """
    left = [
        recipient
        for recipient in history.pending(envelope)
        if not (reply := attempt.replies.get(recipient)) or not (reply.accepted or reply.permanent)
    ]
    if not left:
        return _ended(history, attempt)
    now = attempt.at
    started = now if history.started_at is None else history.started_at
    pending = {recipient: schedules.get(recipient, schedule) for recipient in left}
    expired = {r: s for r, s in pending.items() if s.expired(accepted_at=started, now=now)}
    if len(expired) == len(pending):
        first, its_schedule = next(iter(expired.items()))
        return Fail(_given_up(first, attempt, its_schedule), attempt)
    given_up = {
        r: _overdue(s, attempt.replies.get(r) or attempt.trouble) for r, s in expired.items()
    }
    if given_up:
        attempt = replace(attempt, replies={**attempt.replies, **given_up})
    going_on = {s for r, s in pending.items() if r not in expired}
    if going_on:
        tries = history.attempts + 1
        when = min(s.next_attempt(now=now, attempts=tries, chance=chance) for s in going_on)
        return Defer(replace(attempt, next_attempt=when))
    return _ended(history, attempt)


def _ended(history: History, attempt: Attempt) -> Done | Fail:
    """Return the settlement of a message with no recipient left to try."""
    refused = {**history.refused, **{a: r for a, r in attempt.replies.items() if r.permanent}}
    return Fail(refusal(refused), attempt) if refused else Done(attempt)


def after_trouble(
    history: History, trouble: Reply, *, now: float, peer: str, schedule: Schedule, chance: float
) -> Defer | Fail:
    """Decide after a try without a result for any recipient (a filter's 4yz, no connection)."""
    started = now if history.started_at is None else history.started_at
    if schedule.expired(accepted_at=started, now=now):
        return Fail(_overdue(schedule, trouble), Attempt(at=now, peer=peer, trouble=trouble))
    return after_skip(history, trouble, now=now, peer=peer, schedule=schedule, chance=chance)


def after_skip(
    history: History, why: Reply, *, now: float, peer: str, schedule: Schedule, chance: float
) -> Defer:
    """Decide after a try at the wrong time: the message waits, at any age."""
    when = schedule.next_attempt(now=now, attempts=history.attempts + 1, chance=chance)
    return Defer(Attempt(at=now, peer=peer, trouble=why, next_attempt=when))


def refusals_final(attempt: Attempt) -> Attempt:
    """Make every refusal of an attempt permanent (``--no-retry``).

    An error that stopped the attempt itself, such as a lost connection, refuses no recipient.
    """
    return replace(attempt, replies={who: _final(reply) for who, reply in attempt.replies.items()})


def _final(reply: Reply) -> Reply:
    if reply.accepted or reply.permanent:
        return reply
    return Reply.of(554, f"5.0.0 refused, and not tried again: {reply}")


def refusal(refused: Mapping[Address, Reply]) -> Reply:
    """Return the reason of a message that failed as these recipients were refused."""
    address, reply = next(iter(refused.items()))
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return Reply.of(reply.code, f"{with_address(reply.text, address)}{more}")


def with_address(text: str, address: Address) -> str:
    """Return the text of a reply with the recipient that it is about, which most servers name."""
    return text if f"<{address}>" in text else f"{text} <{address}>"


def _given_up(address: Address, attempt: Attempt, schedule: Schedule) -> Reply:
    reply = attempt.replies.get(address) or attempt.trouble
    return _overdue(schedule, with_address(str(reply), address) if reply else f"<{address}>")


def _overdue(schedule: Schedule, last: object) -> Reply:
    days = schedule.max_age / _DAY
    said = f", last try: {last}" if last else ""
    return Reply.of(554, f"5.4.7 not delivered within {days:.3g} days{said}")
