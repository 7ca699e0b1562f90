"""Provides the tokens for the sign-in at mail servers: ``await bearer("office")``."""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from emailrelay.config.accounts import AccountSettings
from emailrelay.errors import SignInError
from emailrelay.events.event import Report
from emailrelay.oauth.clocks import ClockReading, read_clocks
from emailrelay.oauth.renewal import Pausing, Renewal
from emailrelay.oauth.state import Pause, Renew, TokenUse
from emailrelay.oauth.token import Token, expires
from emailrelay.process_state import AccountState
from emailrelay.store.tokens import TokenStore

_LAST_WAIT = 2.0
"""Seconds for active renewals when the process ends: a new refresh token should be stored."""


class Bearer:
    """The tokens of the accounts that use OAuth2, shared with all processes of the store."""

    def __init__(
        self,
        accounts: Iterable[AccountSettings],
        tokens: TokenStore,
        *,
        report: Report,
        clock: Callable[[], ClockReading] = read_clocks,
        chance: Callable[[], float] = random.random,
        pause: Pausing = asyncio.sleep,
    ) -> None:
        """Accept all ``[[account]]`` tables, with and without OAuth2; no file is read yet."""
        self._renewals = {
            account.name: Renewal(
                account=account,
                oauth2=account.oauth2,
                tokens=tokens,
                report=report,
                clock=clock,
                chance=chance,
                pause=pause,
            )
            for account in accounts
            if account.oauth2 is not None
        }
        self._tokens = tokens
        self.states: dict[str, AccountState] = {}
        """The accounts that were used, for the state of the process."""
        self._running: dict[str, asyncio.Task[Token]] = {}

    async def __call__(self, account_name: str, *, renew: bool = False) -> str:
        """Return a token that is valid for a session that begins now.

        ``renew`` means that a mail server refused the last token. A new one is fetched, unless the
        last one is younger than a minute.

        Raises:
            SignInError: there is no token now; mail for the account waits.

        """
        renewal = self._renewals.get(account_name)
        if renewal is None:
            raise SignInError(account_name, "no such account with OAuth2", "see [[account]]")
        match await renewal.next_step(refused=renew):
            case TokenUse(token, renew=soon):
                self._note_use(account_name, token)
                if soon:
                    self._start(renewal, refused=renew)
                return token.text.reveal()
            case Pause(trouble):
                self._note_trouble(account_name, trouble.reason)
                raise SignInError(account_name, trouble.reason, trouble.advice)
            case Renew():
                # Shielded: a cancelled session must not cancel a renewal that others wait for.
                token = await asyncio.shield(self._start(renewal, refused=renew))
                return token.text.reveal()

    def _note_use(self, name: str, token: Token) -> None:
        before = self.states.get(name)
        # As long as no new token comes, the trouble with its renewal goes on.
        if before is None or before.until != expires(token):
            self.states[name] = AccountState(until=expires(token))

    def _note_trouble(self, name: str, reason: str) -> None:
        self.states[name] = replace(self.states.get(name, AccountState()), trouble=reason)

    async def close(self) -> None:
        """Wait a short time for active renewals, and close the token store."""
        tasks = list(self._running.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_WAIT)
        for task in tasks:
            task.cancel()
        await self._tokens.close()

    def _start(self, renewal: Renewal, *, refused: bool) -> asyncio.Task[Token]:
        name = renewal.account.name
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(renewal.renew(refused=refused))
            self._running[name] = task
            task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def _ended(self, name: str, task: asyncio.Task[Token]) -> None:
        del self._running[name]
        if not task.cancelled():
            # Retrieved here because there may be no waiting session; one that waits gets it too.
            try:
                self.states[name] = AccountState(until=expires(task.result()))
            except SignInError as error:
                self._note_trouble(name, error.reason)
