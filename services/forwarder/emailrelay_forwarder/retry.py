"""When a message is tried again whose recipients go different ways, each with a schedule of its own."""

import math
from collections.abc import Mapping
from dataclasses import replace

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, History
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import Settlement, after_attempt

_DAY = 86400


def after_legs(
    envelope: Envelope,
    history: History,
    attempt: Attempt,
    *,
    schedules: Mapping[Address, Schedule],
    usual: Schedule,
    chance: float,
) -> Settlement:
    """Decide what an attempt means, as ``settlement.after_attempt`` does for one schedule.

    A recipient whose own schedule has run out is given up by itself; the message comes again as soon
    as that of any other recipient says so. ``usual`` is for recipients without one.
    """
    pending = [
        recipient
        for recipient in history.pending(envelope)
        if not (reply := attempt.replies.get(recipient)) or not (reply.accepted or reply.permanent)
    ]
    distinct = {schedules.get(recipient, usual) for recipient in pending}
    if len(distinct) <= 1:
        schedule = next(iter(distinct), usual)
        return after_attempt(envelope, history, attempt, schedule=schedule, chance=chance)
    now = attempt.at
    started = now if history.started_at is None else history.started_at
    replies, going_on = dict(attempt.replies), set[Schedule]()
    for recipient in pending:
        schedule = schedules.get(recipient, usual)
        if schedule.expired(accepted_at=started, now=now):
            last = attempt.replies.get(recipient) or attempt.trouble
            replies[recipient] = _too_old(schedule, last)
        else:
            going_on.add(schedule)
    soonest = min(
        going_on,
        key=lambda s: s.next_attempt(now=now, attempts=history.attempts + 1, chance=0),
        default=usual,
    )
    return after_attempt(
        envelope,
        history,
        replace(attempt, replies=replies),
        schedule=replace(soonest, max_age=math.inf),
        chance=chance,
    )


def _too_old(schedule: Schedule, last: Reply | None) -> Reply:
    days, told = schedule.max_age / _DAY, f", last try: {last}" if last else ""
    return Reply.of(554, f"5.4.7 not delivered within {days:.3g} days{told}")
