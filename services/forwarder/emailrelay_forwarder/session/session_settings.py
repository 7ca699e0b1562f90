"""The settings of all sessions with servers."""

import asyncio
from dataclasses import dataclass, field

from emailrelay.events.event import Report, report_nothing
from emailrelay_forwarder.session.account import Accounts, no_account
from emailrelay_forwarder.session.greeting_timeout import GreetingTimeout
from emailrelay_forwarder.session.happy_eyeballs import Silent
from emailrelay_forwarder.session.policy import Policy

MOST_LOOKUPS = 100
"""Look-ups at a time. Each thread may hang for half a minute, longer than a message waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """Settings of all sessions. Times are in seconds, each for one step without any progress."""

    connect: float = 40.0
    greeting: GreetingTimeout = field(default_factory=lambda: GreetingTimeout(20.0, 300.0))
    """The limit for the greeting of each server; it adapts as sessions are opened."""
    reply: float = 300.0
    verdict: float = 600.0
    """For the reply to the final dot: a shorter limit causes duplicates (RFC 5321 4.5.3.2.6)."""
    domain: str | None = None
    """Our name for EHLO; None: the host's, or the address literal of the connection's end."""
    local_address: str | None = None
    policy: Policy = field(default_factory=Policy)
    """The policy of each connection, unless its route has its own."""
    accounts: Accounts = no_account
    """Our accounts."""
    without: frozenset[str] = frozenset()
    """Extensions not to use even if a server offers them, in lower case."""
    silent: Silent = field(default_factory=Silent)
    """The addresses that recently did not answer, as long as these settings are in force."""
    lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_LOOKUPS))
    """The look-ups of names that may still begin; each takes a thread."""
    report: Report = report_nothing
    """Takes the end of each TLS handshake."""
    dialogue: Report | None = None
    """Takes each line of a dialogue; None: none is reported, at no cost."""
