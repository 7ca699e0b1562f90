"""The parts of a running console that its pages use."""

from collections.abc import Callable
from dataclasses import dataclass

from emailrelay.config import ConsoleSettings
from emailrelay.events.event import Report
from emailrelay.login_attempts import LoginAttempts
from emailrelay_console.access.sessions import Sessions
from emailrelay_console.access.tokens import Tokens
from emailrelay_console.access.users import Users
from emailrelay_console.mail.changes import Changes
from emailrelay_console.mail.doctor import Doctor
from emailrelay_console.mail.overview import Overview, OverviewFacts
from emailrelay_console.mail.past_search import PastSearch
from emailrelay_console.mail.queue import Queue
from emailrelay_console.mail.reader import QueueReader
from emailrelay_console.mail.store_holder import StoreHolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """See the fields."""

    settings: ConsoleSettings
    report: Report
    users: Users
    sessions: Sessions
    tokens: Tokens
    attempts: LoginAttempts
    reader: QueueReader
    queue: Queue
    changes: Changes
    overview: Overview
    searches: PastSearch
    doctor: Doctor
    store: StoreHolder
    clock: Callable[[], float]
    """Seconds since 1970."""

    async def facts(self) -> OverviewFacts:
        """Return the facts of the overview."""
        return await self.overview.facts(self.clock())

    @property
    def encrypted(self) -> bool:
        """True if browsers reach the console over TLS."""
        return (self.settings.console_url or "").startswith("https:")
