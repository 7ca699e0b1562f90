"""Tokens, accounts and moments for the tests of OAuth2's rules."""

from dataclasses import replace
from typing import Any

from emailrelay.config.accounts import AccountSettings
from emailrelay.oauth.clocks import ClockReading
from emailrelay.oauth.state import TokenTrouble
from emailrelay.oauth.token import Token, parse

START = ClockReading(wall=1_700_000_000.0, uptime=5000.0, boot="a")
HIDDEN = "s3cr3t-t0ken"


def at(seconds: float) -> ClockReading:
    return replace(START, wall=START.wall + seconds, uptime=START.uptime + seconds)


def token(lifetime: float = 3600.0, *, issued: ClockReading = START) -> Token:
    answer = {"access_token": HIDDEN, "token_type": "Bearer", "expires_in": lifetime}
    return parse(answer, asked=issued, chance=0.5).token


def trouble(*, times: int = 1, lasting: bool = False, secrets: str = "") -> TokenTrouble:
    return TokenTrouble(
        reason="no", advice="wait", at=START, times=times, lasting=lasting, secrets=secrets
    )


def account(**oauth2: Any) -> AccountSettings:
    table = {"name": "office", "mechanism": "xoauth2", "user": "me@x.test", "oauth2": oauth2}
    return AccountSettings.model_validate(table)


MICROSOFT = {"provider": "microsoft", "tenant": "contoso.test", "client_id": "app"}
CUSTOM = {"client_id": "app", "token_url": "https://id.test/token"}
