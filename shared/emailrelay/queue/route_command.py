"""The command ``route``, which shows the route of a message and the reason."""

import os
from argparse import Namespace
from collections.abc import Iterator

from emailrelay.envelope import Address, Envelope
from emailrelay.queue.pattern import bare
from emailrelay.routes import Choice, Route, sender_on
from emailrelay.terminal.output import print_json, print_line

_DAY = 86400


def route(asked: Namespace) -> int:
    """Show the route that a message would take now, and why."""
    # Importing it takes an eighth of a second, which the other commands save.
    from emailrelay.config import ForwarderSettings, read  # noqa: PLC0415

    routes = read(ForwarderSettings, [], os.environ).routes
    address = Address(bare(asked.recipient))
    envelope = Envelope(
        sender=Address(bare(asked.sender)), to_remote=(address,), authentication=asked.user
    )
    choice = routes.choose(envelope, address)
    if asked.json:
        print_json(_as_json(choice, envelope))
    else:
        for other, why in routes.passed_over(envelope, address):
            print_line(f"{other.name}: no, {why}")
        for line in _lines(choice, envelope):
            print_line(line)
    return os.EX_OK if choice.route else 1


def _lines(choice: Choice, envelope: Envelope) -> Iterator[str]:
    found = choice.route
    if found is None:
        yield f"no route: {choice.why}"
        return
    yield f"{found.name}: yes, {choice.why}"
    yield f"  smarthosts   {', then '.join(found.smarthosts)}"
    yield f"  account      {found.account or 'none of its own'}"
    yield f"  encryption   {_encryption(found)}"
    yield f"  sender       <{sender_on(found, envelope.sender)}>"
    if found.connections is not None:
        yield f"  connections  at most {found.connections} over all processes"
    if found.rate is not None:
        yield f"  messages     at most {found.rate} over all processes"
    plan = found.schedule
    yield (
        f"  retries      after {plan.first:g} s, each pause {plan.factor:g} times the one before, "
        f"at most {plan.longest:g} s; given up after {plan.max_age / _DAY:.3g} days"
    )


def _encryption(found: Route) -> str:
    words = [found.tls or "as for all servers"]
    if found.tls_verify is not None:
        words.append("certificate verified" if found.tls_verify else "certificate not verified")
    return ", ".join(words)


def _as_json(choice: Choice, envelope: Envelope) -> dict[str, object]:
    found = choice.route
    if found is None:
        return {"route": None, "why": choice.why}
    return {
        "route": found.name,
        "why": choice.why,
        "smarthosts": found.smarthosts,
        "account": found.account,
        "tls": found.tls,
        "tls_verify": found.tls_verify,
        "sender": sender_on(found, envelope.sender),
        "connections": found.connections,
        "rate": None
        if found.rate is None
        else {"messages": found.rate.messages, "seconds": found.rate.seconds},
        "retry_first": found.schedule.first,
        "retry_factor": found.schedule.factor,
        "retry_longest": found.schedule.longest,
        "max_age": found.schedule.max_age,
    }
