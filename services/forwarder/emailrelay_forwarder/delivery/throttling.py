"""Sends a server less mail when its replies ask for that."""

from collections.abc import Collection, Mapping

from emailrelay.envelope import Address
from emailrelay.events.servers import SlowedDown
from emailrelay.reply import Reply
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.delivery.outgoing import Outgoing
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.server.gate import SHORT
from emailrelay_forwarder.server.smarthost import Smarthost
from emailrelay_forwarder.server.throttle_replies import ThrottleWish, for_now, wish_of
from emailrelay_forwarder.session.session_error import NotYet


def turn(smarthost: Smarthost, rules: Rules) -> float:
    """Take a turn at a server; return the seconds until it.

    Raises:
        NotYet: that takes more than a few seconds.

    """
    if smarthost.send_rate.rate is None:
        return 0.0
    now = rules.clock()
    wait = smarthost.send_rate.turn(now, patience=SHORT)
    if wait is None:
        text = f"4.7.0 {smarthost.name} wants mail more slowly: this message has its turn later"
        raise NotYet(Reply.of(451, text), smarthost.send_rate.later(now))
    return wait


def heed(
    message: Outgoing,
    smarthost: Smarthost,
    progress: Progress,
    rules: Rules,
    answered: Collection[Address],
) -> None:
    """Send the server less if its replies ask for that, also if they have other meanings.

    ``answered``: the recipients whose replies came before, from other servers of the route.
    """
    replies, sender = progress.replies, message.envelope.sender
    accepted, refusals = False, dict[Address, Reply]()
    for recipient in message.envelope.recipients:
        reply = None if recipient in answered else replies.get(recipient)
        if reply is not None and reply.accepted:
            accepted = True
        elif reply is not None:
            refusals[recipient] = for_now(reply, recipient, sender)
    if accepted:
        smarthost.pause.took_mail()
        smarthost.send_rate.accepted(rules.clock())
    if not refusals:
        return
    replies.update(refusals)
    wishes = _wishes(refusals, message, smarthost, progress, accepted=accepted)
    for wish in (ThrottleWish.LATER, ThrottleWish.SLOWER):
        if reply := wishes.get(wish):
            later = _slow_down(smarthost, reply, wish, progress, rules)
            # A recipient that is deferred for another reason is tried at the usual time.
            progress.turn = None if None in wishes else later
            return
    if reply := wishes.get(ThrottleWish.FEWER):
        smarthost.slow_down(reply)


def _wishes(
    refusals: Mapping[Address, Reply],
    message: Outgoing,
    smarthost: Smarthost,
    progress: Progress,
    *,
    accepted: bool,
) -> dict[ThrottleWish | None, Reply]:
    """Return what the server asks for in temporary refusals; None: nothing about further mail.

    ``accepted``: it has accepted the message for other recipients.
    """
    wishes = dict[ThrottleWish | None, Reply]()
    for recipient, reply in refusals.items():
        if reply.permanent:
            continue
        wish = wish_of(reply, recipient, message.envelope.sender)
        if wish is ThrottleWish.LATER and recipient in progress.at_rcpt:
            # The quota may be that of this recipient.
            concerns_all = not accepted and smarthost.send_rate.quota_named(recipient)
            wish = wish if concerns_all else None
        wishes[wish] = reply
    return wishes


def _slow_down(
    smarthost: Smarthost, reply: Reply, wish: ThrottleWish, progress: Progress, rules: Rules
) -> float:
    """Send messages more slowly from now on; return the time of this one's turn."""
    now, rate_limit = rules.clock(), smarthost.send_rate
    first = rate_limit.rate is None
    note = rate_limit.used_up if wish is ThrottleWish.LATER else rate_limit.refused
    counted = note(now, began=progress.offered)
    again = rate_limit.later(now)
    if counted and (first or wish is ThrottleWish.LATER):
        rate = f"{60 * (rate_limit.rate or 0):.3g} in 60 s"
        rules.report(SlowedDown(peer=smarthost.name, reason=str(reply), rate=rate, again=again))
    return again
