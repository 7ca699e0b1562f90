"""Renews one account's token: in one process at a time, and stored before it is used."""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from emailrelay.config.accounts import AccountSettings, OAuth2
from emailrelay.errors import RelayError, SignInError, StoreError, StoreUnusable
from emailrelay.events.accounts import SignInBack, SignInTrouble
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.oauth import request, state
from emailrelay.oauth.clocks import ClockReading, read_clocks
from emailrelay.oauth.credentials import OAuthCredentials, load_credentials, stamp_of_files
from emailrelay.oauth.endpoint import Unavailable, ask, sign
from emailrelay.oauth.state import Pause, Renew, SignIn, SignInStep, TokenTrouble, TokenUse
from emailrelay.oauth.token import Issued, Token, expires, is_good, parse
from emailrelay.oauth.trouble import CAUSES, diagnose
from emailrelay.secrets.secret import Secret
from emailrelay.secrets.secret_text import stamp
from emailrelay.store.tokens import TokenStore, TokenTurn

_TRIES = 3
_PAUSE = 1.0
_LONGEST_RETRY = 5.0
_POLL_INTERVAL = 0.1
_LONGEST_WAIT = 90.0
"""Seconds to wait for another process's renewal: longer than all its tries can take."""

Pausing: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits for a number of seconds."""


@dataclass(slots=True, kw_only=True)
class Renewal:
    """The sign-in of one account in one process."""

    account: AccountSettings
    oauth2: OAuth2
    tokens: TokenStore
    report: Report
    clock: Callable[[], ClockReading] = read_clocks
    chance: Callable[[], float] = random.random
    pause: Pausing = asyncio.sleep
    _told: str = ""

    @property
    def identity(self) -> str:
        """Identifies the settings that the stored tokens belong to."""
        return request.identity(self.account)

    async def look(self) -> SignIn:
        """Return the stored state.

        Raises:
            SignInError: it cannot be read.

        """
        try:
            return state.read(await self.tokens.read(self.account.name), self.identity)
        except StoreError as error:
            raise self.explain(error) from error

    async def next_step(self, *, refused: bool) -> SignInStep:
        """Decide the next step for a session that begins now; see ``state.next_step``."""
        return state.next_step(
            await self.look(),
            refused=refused,
            secrets=stamp_of_files(self.oauth2),
            now=self.clock(),
        )

    async def renew(self, *, refused: bool = False, forced: bool = False) -> Token:
        """Return a valid token, a new one if needed; ``forced``: a new one if possible.

        Do not cancel it without need: if a refresh token was used and its successor was not stored,
        the sign-in is lost.

        Raises:
            SignInError: there is no valid token.

        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LONGEST_WAIT
        while loop.time() < deadline:
            token = await self._renew_or_read(refused=refused, forced=forced)
            if token is not None:
                return token
            await asyncio.sleep(_POLL_INTERVAL)
        reason = f"another process has been renewing the token for {_LONGEST_WAIT:g} s"
        raise SignInError(self.account.name, reason, "it is tried again by itself")

    async def _renew_or_read(self, *, refused: bool, forced: bool) -> Token | None:
        """Renew if no other process does, else return the stored token; None: there is none yet."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                turn = await stack.enter_async_context(self.tokens.turn(self.account.name))
            except (StoreError, StoreUnusable) as error:
                return await self._failed(await self.look(), error, None, forced=forced)
            step = await self.next_step(refused=refused)
            if turn is None:
                return step.token if isinstance(step, TokenUse) and not forced else None
            match step:
                case TokenUse(token, renew=False) if not forced:
                    return token
                case Pause(trouble) if not forced:
                    raise self._error(trouble)
                case TokenUse() | Pause() | Renew():
                    return await self._fetch(turn, await self.look(), forced=forced)

    async def _fetch(self, turn: TokenTurn, before: SignIn, *, forced: bool) -> Token:
        try:
            # Reserve space first: a full disk must not lose a refresh token that works only once.
            await turn.reserve()
            issued, seed = await self._ask(before)
            await turn.keep(state.write(state.after_success(before, issued, seed=seed)))
        except CAUSES as cause:
            return await self._failed(before, cause, turn, forced=forced)
        self._told = ""
        if before.trouble is not None:
            self.report(SignInBack(account=self.account.name))
        return issued.token

    async def _ask(self, before: SignIn) -> tuple[Issued, str]:
        credentials = load_credentials(self.oauth2)
        refresh_token, seed = self._refresh_token(before, credentials)
        form = request.form(self.oauth2, refresh_token)
        for attempt in range(1, _TRIES):
            try:
                return await self.ask_once(form, credentials), seed
            except Unavailable as error:
                if error.retry_after > _LONGEST_RETRY:
                    raise
                pause = _PAUSE * 2 ** (attempt - 1) * (1 + self.chance())
                await self.pause(max(pause, error.retry_after))
        return await self.ask_once(form, credentials), seed

    async def ask_once(self, form: dict[str, str], credentials: OAuthCredentials) -> Issued:
        """Send one request for a token, signed if the account has a key.

        Raises:
            Unavailable, TokenRefused, BadKey, MissingExtra: as ``ask`` and ``sign`` do.

        """
        asked = self.clock()
        url = request.endpoints(self.oauth2).token_url
        answer = await ask(
            url, self.signed(form, credentials), request.client(self.oauth2, credentials)
        )
        try:
            return parse(answer, asked=asked, chance=self.chance())
        except ValueError as error:
            raise Unavailable(str(error)) from error

    def signed(self, form: dict[str, str], credentials: OAuthCredentials) -> dict[str, str]:
        """Return the form; for accounts with a key, with a newly signed statement."""
        jti, now = secrets.token_urlsafe(24), self.clock().wall
        found = request.statement(self.account, self.oauth2, credentials, now=now, jti=jti)
        if found is None:
            return form
        field, claims = found
        kind = (
            {"client_assertion_type": request.CLIENT_ASSERTION}
            if field == "client_assertion"
            else {}
        )
        return {**form, **kind, field: sign(claims)}

    async def keep_sign_in(self, issued: Issued) -> None:
        """Store the tokens of a user's sign-in for all processes.

        Raises:
            StoreError: they cannot be stored.
            SignInError: another process is renewing the token.

        """
        name = self.account.name
        after = SignIn(
            identity=self.identity,
            token=issued.token,
            refresh_token=issued.refresh_token,
            seed=stamp(self.oauth2.refresh_token_file),
        )
        async with self.tokens.turn(name) as turn:
            if turn is None:
                raise SignInError(name, "another process is renewing its token", "try again")
            await turn.keep(state.write(after))

    def _refresh_token(
        self, before: SignIn, credentials: OAuthCredentials
    ) -> tuple[Secret | None, str]:
        """Return the refresh token, and the stamp of the file that its first version came from."""
        seed = stamp(self.oauth2.refresh_token_file)
        if credentials.refresh_token is not None and before.seed != seed:
            return credentials.refresh_token, seed
        return before.refresh_token or credentials.refresh_token, seed

    async def _failed(
        self, before: SignIn, cause: RelayError, turn: TokenTurn | None, *, forced: bool
    ) -> Token:
        trouble = self._diagnose(cause)
        news = state.is_news(before, trouble) and self._told != trouble.reason
        # NotSignedIn is not stored: no server was asked, and tokens that belong to other settings
        # stay usable if an administrator reverts a change.
        if not isinstance(cause, request.NotSignedIn):
            await self._remember(turn, state.after_trouble(before, trouble), cause, news=news)
        token = before.token
        if token is not None and not is_good(token, self.clock()):
            token = None
        if news:
            self._told = trouble.reason
            self.report(
                SignInTrouble(
                    account=self.account.name,
                    reason=trouble.reason,
                    advice=trouble.advice,
                    token_until=None if token is None else expires(token),
                )
            )
        if token is not None and not forced:
            return token
        raise self._error(trouble) from cause

    async def _remember(
        self, turn: TokenTurn | None, after: SignIn, cause: RelayError, *, news: bool
    ) -> None:
        try:
            if turn is None:
                raise cause
            await turn.keep(state.write(after))
        except (StoreError, StoreUnusable) as error:
            if news:
                self.report(StoreTrouble(doing="storing tokens", reason=str(error)))

    def explain(self, cause: RelayError) -> SignInError:
        """Return an error that tells people the reason and the remedy."""
        return self._error(self._diagnose(cause))

    def _diagnose(self, cause: RelayError) -> TokenTrouble:
        stamps = stamp_of_files(self.oauth2)
        return diagnose(cause, self.account, secrets=stamps, now=self.clock())

    def _error(self, trouble: TokenTrouble) -> SignInError:
        return SignInError(self.account.name, trouble.reason, trouble.advice)
