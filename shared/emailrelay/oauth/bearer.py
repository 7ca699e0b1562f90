"""Gives tokens to whoever signs in at mail servers: ``await bearer("office")``."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable

from emailrelay.config.accounts import AccountSettings
from emailrelay.errors import SignInError
from emailrelay.events import Report
from emailrelay.oauth.moment import Moment, read_clocks
from emailrelay.oauth.renewal import Pausing, Renewal
from emailrelay.oauth.state import Pause, Renew, TokenUse
from emailrelay.oauth.token import Token
from emailrelay.store.tokens import TokenStore

_LAST_WAIT = 2.0
"""Seconds for renewals under way when the process ends: a new refresh token should be kept."""


class Bearer:
    """The tokens of the accounts that use OAuth2, shared with all processes of the store."""

    def __init__(
        self,
        accounts: Iterable[AccountSettings],
        tokens: TokenStore,
        *,
        report: Report,
        clock: Callable[[], Moment] = read_clocks,
        chance: Callable[[], float] = random.random,
        pause: Pausing = asyncio.sleep,
    ) -> None:
        """Take ``[[account]]`` tables, those without OAuth2 among them; nothing is read yet."""
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
        self._running: dict[str, asyncio.Task[Token]] = {}

    async def __call__(self, account_name: str, *, renew: bool = False) -> str:
        """Give a token that is good for a session that begins now.

        ``renew`` says that a mail server refused the last one: another is fetched, unless that was
        done within a minute.

        Raises:
            SignInError: there is none now; mail for the account waits.

        """
        renewal = self._renewals.get(account_name)
        if renewal is None:
            raise SignInError(account_name, "no such account with OAuth2", "see [[account]]")
        match await renewal.next_step(refused=renew):
            case TokenUse(token, renew=soon):
                if soon:
                    self._start(renewal, refused=renew)
                return token.text.reveal()
            case Pause(trouble):
                raise SignInError(account_name, trouble.reason, trouble.advice)
            case Renew():
                # Shielded: a session that is given up must not break off what others wait for.
                token = await asyncio.shield(self._start(renewal, refused=renew))
                return token.text.reveal()

    async def close(self) -> None:
        """Wait a moment for renewals under way, and close the token store."""
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
            # Looked at here because nobody may be waiting; whoever does gets it all the same.
            with contextlib.suppress(SignInError):
                task.result()
