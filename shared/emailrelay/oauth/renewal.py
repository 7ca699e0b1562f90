"""Renews one account's token: one process at a time, the new one kept before it is used."""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from emailrelay.config.accounts import AccountSettings, OAuth2
from emailrelay.errors import SignInError, StoreError, StoreUnusable
from emailrelay.events import Report, SignInBack, SignInTrouble, StoreTrouble
from emailrelay.oauth import material, request, state
from emailrelay.oauth.endpoint import (
    BadKey,
    MissingExtra,
    TokenRefused,
    Unavailable,
    ask,
    sign,
)
from emailrelay.oauth.material import Material
from emailrelay.oauth.moment import Moment, read_clocks
from emailrelay.oauth.state import Pause, Renew, SignIn, SignInStep, TokenTrouble, TokenUse
from emailrelay.oauth.token import Issued, Token, expires, is_good, parse
from emailrelay.oauth.trouble import Cause, NotSignedIn, diagnose
from emailrelay.secrets.secret import Secret
from emailrelay.secrets.secret_text import SecretUnusable, stamp
from emailrelay.store.tokens import TokenStore, TokenTurn

CAUSES = (
    Unavailable,
    TokenRefused,
    SecretUnusable,
    BadKey,
    MissingExtra,
    NotSignedIn,
    StoreUnusable,
    StoreError,
)
_TRIES = 3
_PAUSE = 1.0
_LONGEST_RETRY = 5.0
_LOOK_AGAIN = 0.1
_PATIENCE = 90.0
"""Seconds for another process's renewal: longer than all its tries can take."""

Pausing: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits so many seconds."""


@dataclass(slots=True, kw_only=True)
class Renewal:
    """The sign-in of one account, as one process sees it."""

    account: AccountSettings
    oauth2: OAuth2
    tokens: TokenStore
    report: Report
    clock: Callable[[], Moment] = read_clocks
    chance: Callable[[], float] = random.random
    pause: Pausing = asyncio.sleep
    _told: str = ""

    @property
    def identity(self) -> str:
        """What tokens are kept for: these settings, and no others."""
        return request.identity(self.account)

    async def look(self) -> SignIn:
        """Return the state that is kept.

        Raises:
            SignInError: it cannot be read.

        """
        try:
            return state.read(await self.tokens.read(self.account.name), self.identity)
        except StoreError as error:
            raise self.explain(error) from error

    async def next_step(self, *, refused: bool) -> SignInStep:
        """Decide what a session that begins now needs; see ``state.next_step``."""
        return state.next_step(
            await self.look(),
            refused=refused,
            secrets=material.stamps(self.oauth2),
            now=self.clock(),
        )

    async def renew(self, *, refused: bool = False, forced: bool = False) -> Token:
        """Give a good token, a new one if that is needed; ``forced``: if at all possible.

        Whoever calls this must not cancel it lightly: a refresh token that was used and whose
        successor was not kept is lost.

        Raises:
            SignInError: there is none.

        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        while loop.time() < deadline:
            token = await self._in_turn(refused=refused, forced=forced)
            if token is not None:
                return token
            await asyncio.sleep(_LOOK_AGAIN)
        reason = f"another process has been renewing the token for {_PATIENCE:g} s"
        raise SignInError(self.account.name, reason, "it is tried again")

    async def _in_turn(self, *, refused: bool, forced: bool) -> Token | None:
        """Renew unless another process does, else return its token. None: it has none yet."""
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
            # First the room: a full disk must not cost a refresh token that works only once.
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
        proof = material.load(self.oauth2)
        refresh_token, seed = self._refresh_token(before, proof)
        try:
            form = request.form(self.oauth2, refresh_token)
        except LookupError as error:
            raise NotSignedIn from error
        for attempt in range(1, _TRIES):
            try:
                return await self.ask_once(form, proof), seed
            except Unavailable as error:
                if error.retry_after > _LONGEST_RETRY:
                    raise
                pause = _PAUSE * 2 ** (attempt - 1) * (1 + self.chance())
                await self.pause(max(pause, error.retry_after))
        return await self.ask_once(form, proof), seed

    async def ask_once(self, form: dict[str, str], proof: Material) -> Issued:
        """Send one request for a token, signed if the account has a key.

        Raises:
            Unavailable, TokenRefused, BadKey, MissingExtra: as ``ask`` and ``sign`` do.

        """
        asked = self.clock()
        url = request.endpoints(self.oauth2).token_url
        answer = await ask(url, self.signed(form, proof), request.client(self.oauth2, proof))
        try:
            return parse(answer, asked=asked, chance=self.chance())
        except ValueError as error:
            raise Unavailable(str(error)) from error

    def signed(self, form: dict[str, str], proof: Material) -> dict[str, str]:
        """Give the form with a freshly signed statement, for accounts that have a key."""
        jti, now = secrets.token_urlsafe(24), self.clock().wall
        found = request.statement(self.account, self.oauth2, proof, now=now, jti=jti)
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
        """Keep the tokens of a person's sign-in, for all processes.

        Raises:
            StoreError: they cannot be kept.
            SignInError: another process is renewing just now.

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
                raise SignInError(name, "its token is being renewed just now", "try again")
            await turn.keep(state.write(after))

    def _refresh_token(self, before: SignIn, proof: Material) -> tuple[Secret | None, str]:
        """Give the refresh token and the stamp of the file that it, or its ancestor, came from."""
        seed = stamp(self.oauth2.refresh_token_file)
        if proof.refresh_token is not None and before.seed != seed:
            return proof.refresh_token, seed
        return before.refresh_token or proof.refresh_token, seed

    async def _failed(
        self, before: SignIn, cause: Cause, turn: TokenTurn | None, *, forced: bool
    ) -> Token:
        trouble = self._diagnose(cause)
        news = state.is_news(before, trouble) and self._told != trouble.reason
        # Where nobody was asked there is nothing to remember, and tokens that were kept for other
        # settings are left alone: an administrator may take a change back.
        if not isinstance(cause, NotSignedIn):
            await self._remember(turn, state.after_trouble(before, trouble), cause, news=news)
        token = before.token
        good = token is not None and is_good(token, self.clock())
        if news:
            self._told = trouble.reason
            self.report(
                SignInTrouble(
                    account=self.account.name,
                    reason=trouble.reason,
                    advice=trouble.advice,
                    token_until=expires(token) if good and token is not None else None,
                )
            )
        if good and token is not None and not forced:
            return token
        raise self._error(trouble) from cause

    async def _remember(
        self, turn: TokenTurn | None, after: SignIn, cause: Cause, *, news: bool
    ) -> None:
        try:
            if turn is None:
                raise cause
            await turn.keep(state.write(after))
        except (StoreError, StoreUnusable) as error:
            if news:
                self.report(StoreTrouble(doing="keeping tokens", reason=str(error)))

    def explain(self, cause: Cause) -> SignInError:
        """Give what went wrong as an error for people, with what they can do."""
        return self._error(self._diagnose(cause))

    def _diagnose(self, cause: Cause) -> TokenTrouble:
        stamps = material.stamps(self.oauth2)
        return diagnose(cause, self.account, secrets=stamps, now=self.clock())

    def _error(self, trouble: TokenTrouble) -> SignInError:
        return SignInError(self.account.name, trouble.reason, trouble.advice)
