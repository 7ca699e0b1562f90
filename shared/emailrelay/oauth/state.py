"""The stored state of an account's sign-in: its tokens and its last error."""

import json
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from emailrelay.oauth.clocks import ClockReading, age
from emailrelay.oauth.token import REFUSED_AGE, Issued, Token, is_due, is_good
from emailrelay.secrets.secret import Secret

_FIRST_PAUSE = 15.0
_LONGEST_PAUSE = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTrouble:
    """Why the last renewal failed. Neither text holds a secret."""

    reason: str
    advice: str
    at: ClockReading
    times: int
    lasting: bool
    """True: it fails again until an administrator changes something."""
    secrets: str
    """The stamp of the secret files that were used: other files may work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """The state of one account's sign-in, for the settings that ``identity`` stands for."""

    identity: str
    token: Token | None = None
    refresh_token: Secret | None = None
    seed: str = ""
    """The stamp of the file with the first refresh token; empty after a login."""
    trouble: TokenTrouble | None = None


@dataclass(frozen=True, slots=True)
class TokenUse:
    """The token is valid; ``renew``: renew it in the background."""

    token: Token
    renew: bool


@dataclass(frozen=True, slots=True)
class Renew:
    """There is no valid token: fetch one first."""


@dataclass(frozen=True, slots=True)
class Pause:
    """There is no valid token, and it is too early to ask again."""

    trouble: TokenTrouble


SignInStep: TypeAlias = TokenUse | Renew | Pause


def next_step(state: SignIn, *, refused: bool, secrets: str, now: ClockReading) -> SignInStep:
    """Decide the next step for a session that begins now.

    ``refused``: a mail server refused the token; ``secrets``: the stamp of the secret files now.
    """
    paused = state.trouble is not None and _is_paused(state.trouble, secrets, now)
    token = state.token
    if token is not None and is_good(token, now):
        doubted = refused and age(token.issued, now) >= REFUSED_AGE
        if not doubted or paused:
            return TokenUse(token, renew=is_due(token, now) and not paused)
    return Pause(state.trouble) if paused and state.trouble is not None else Renew()


def _is_paused(trouble: TokenTrouble, secrets: str, now: ClockReading) -> bool:
    if trouble.lasting:
        pause = _LONGEST_PAUSE
    else:
        pause = min(_FIRST_PAUSE * 2.0 ** min(trouble.times - 1, 10), _LONGEST_PAUSE)
    return secrets == trouble.secrets and age(trouble.at, now) < pause


def after_success(state: SignIn, issued: Issued, *, seed: str) -> SignIn:
    """Return the state after a renewal; without a new refresh token the old one stays valid."""
    return SignIn(
        identity=state.identity,
        token=issued.token,
        refresh_token=issued.refresh_token or state.refresh_token,
        seed=seed,
    )


def after_trouble(state: SignIn, trouble: TokenTrouble) -> SignIn:
    """Return the state after a failed renewal; a token that is still valid stays."""
    times = 1 if state.trouble is None else state.trouble.times + 1
    return replace(state, trouble=replace(trouble, times=times))


def is_news(state: SignIn, trouble: TokenTrouble) -> bool:
    """Tell whether an error must be reported: a repeated one must not."""
    return state.trouble is None or state.trouble.reason != trouble.reason


def write(state: SignIn) -> bytes:
    """Write a state as the octets of its file, with its secrets."""
    return json.dumps({"version": 1, **_fields(state)}, default=_plain, indent=1).encode() + b"\n"


def _plain(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else _fields(value)


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are set."""
    found = {entry.name: getattr(value, entry.name) for entry in fields(value)}
    return {name: each for name, each in found.items() if each is not None}


def read(octets: bytes | None, identity: str) -> SignIn:
    """Read the octets of ``write``; the state is empty without octets or with other settings.

    A file that cannot be parsed counts as missing: a new sign-in replaces its content.
    """
    empty = SignIn(identity=identity)
    if octets is None:
        return empty
    try:
        found = _parse(json.loads(octets))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return empty
    return found if found.identity == identity else empty


def _parse(entry: Any) -> SignIn:
    token, trouble = entry.get("token"), entry.get("trouble")
    refresh = entry.get("refresh_token")
    return SignIn(
        identity=str(entry["identity"]),
        seed=str(entry["seed"]),
        refresh_token=None if refresh is None else Secret(str(refresh)),
        token=None
        if token is None
        else Token(
            text=Secret(str(token["text"])),
            issued=_reading(token["issued"]),
            lifetime=float(token["lifetime"]),
            renew_at=float(token["renew_at"]),
        ),
        trouble=None
        if trouble is None
        else TokenTrouble(
            reason=str(trouble["reason"]),
            advice=str(trouble["advice"]),
            at=_reading(trouble["at"]),
            times=int(trouble["times"]),
            lasting=bool(trouble["lasting"]),
            secrets=str(trouble["secrets"]),
        ),
    )


def _reading(entry: Any) -> ClockReading:
    return ClockReading(
        wall=float(entry["wall"]), uptime=float(entry["uptime"]), boot=str(entry["boot"])
    )
