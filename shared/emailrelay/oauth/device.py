"""Sign-in on another device: show a code, then ask until the user has entered it (RFC 8628)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from emailrelay.errors import RelayError
from emailrelay.oauth import request
from emailrelay.oauth.credentials import load_credentials
from emailrelay.oauth.endpoint import TokenRefused, Unavailable, ask
from emailrelay.oauth.renewal import Renewal
from emailrelay.oauth.token import Issued
from emailrelay.secrets import Secret

_SLOW_DOWN = 5.0
_DEFAULT_INTERVAL = 5.0
_LONGEST_INTERVAL = 120.0


class CodeExpired(RelayError):
    """The code expired before the user entered it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What the user needs: the page and the code. The server chooses these texts."""

    url: str
    code: str
    complete_url: str
    """The address that contains the code, or empty."""
    seconds: float
    """How long the code is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """A server's answer to a device authorization request."""

    device_code: Secret
    invitation: Invitation
    interval: float


def parse(answer: Mapping[str, object]) -> Authorization:
    """Read the answer of a device authorization endpoint (RFC 8628 section 3.2).

    Raises:
        ValueError: a field is missing or unsafe to show.

    """
    # Google's verification_url is older than the RFC.
    url = answer.get("verification_uri", answer.get("verification_url"))
    complete = str(answer.get("verification_uri_complete", ""))
    code, device_code = answer.get("user_code"), answer.get("device_code")
    seconds = _number(answer.get("expires_in"))
    interval = _number(answer.get("interval", _DEFAULT_INTERVAL))
    if not (isinstance(url, str) and url.startswith("https://") and url.isprintable()):
        raise ValueError("the server's answer names no safe page for the sign-in (https)")
    if not (isinstance(code, str) and code and code.isprintable() and len(code) < 100):
        raise ValueError("the server's answer has no usable user code")
    if not (isinstance(device_code, str) and device_code):
        raise ValueError("the server's answer has no device code")
    safe = complete.startswith("https://") and complete.isprintable()
    return Authorization(
        device_code=Secret(device_code),
        interval=min(max(interval, 1.0), _LONGEST_INTERVAL),
        invitation=Invitation(
            url=url, code=code, complete_url=complete if safe else "", seconds=seconds
        ),
    )


def _number(said: object) -> float:
    try:
        seconds = float(said) if isinstance(said, int | float | str) else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("the server's answer has no usable expires_in or interval")
    return seconds


def next_interval(interval: float, said: TokenRefused | Unavailable) -> float | None:
    """Return the pause before the next request (RFC 8628 section 3.5); None: it was refused."""
    match said:
        case Unavailable():
            return min(interval * 2, _LONGEST_INTERVAL)
        case TokenRefused(code="authorization_pending"):
            return interval
        case TokenRefused(code="slow_down"):
            return interval + _SLOW_DOWN
        case TokenRefused():
            return None


async def sign_in(
    renewal: Renewal,
    show: Callable[[Invitation], None],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Issued:
    """Let the user sign in on a device of their choice; return the issued tokens.

    Raises:
        TokenRefused: the user or the server refused.
        CodeExpired: the code expired.
        Unavailable: the server gave no code.
        SecretUnusable, BadKey, MissingExtra: as in ``Renewal``.

    """
    credentials = load_credentials(renewal.oauth2)
    where, client = request.endpoints(renewal.oauth2), request.client(renewal.oauth2, credentials)
    scoped = {"scope": where.scope} if where.scope else {}
    answer = await ask(where.device_url, renewal.signed(scoped, credentials), client)
    try:
        authorization = parse(answer)
    except ValueError as error:
        raise Unavailable(str(error)) from error
    show(authorization.invitation)
    form = {
        "grant_type": request.DEVICE_CODE,
        "device_code": authorization.device_code.reveal(),
    }
    interval = authorization.interval
    try:
        async with asyncio.timeout(authorization.invitation.seconds):
            while True:
                await sleep(interval)
                try:
                    return await renewal.ask_once(form, credentials)
                except (TokenRefused, Unavailable) as said:
                    pause = next_interval(interval, said)
                    if pause is None:
                        raise
                    interval = pause
    except TimeoutError as error:
        raise CodeExpired from error
