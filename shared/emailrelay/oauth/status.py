"""The status of an account's sign-in: one row of a table, or one JSON object."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.table import Table

from emailrelay.config.accounts import BY_PERSON, AccountSettings
from emailrelay.oauth.clocks import ClockReading
from emailrelay.oauth.credentials import load_credentials
from emailrelay.oauth.state import SignIn
from emailrelay.oauth.token import expires, is_good
from emailrelay.secrets.secret_text import SecretUnusable, read_line
from emailrelay.terminal.screen import new_table, plain


class AccountStanding(StrEnum):
    """The status in one word."""

    GOOD = "good"
    """There is a valid token and no error."""
    READY = "ready"
    """There is no valid token now; one is fetched when mail needs it."""
    TROUBLE = "trouble"
    """The last renewal failed, or a secret file is unusable."""
    SIGN_IN = "sign in"
    """A person must sign in first."""
    PASSWORD = "password"  # noqa: S105 -- not a password: the status of accounts without OAuth2
    """The account has a password and no token."""


_COLOURS = {
    AccountStanding.GOOD: "green",
    AccountStanding.READY: "cyan",
    AccountStanding.TROUBLE: "red",
    AccountStanding.SIGN_IN: "magenta",
    AccountStanding.PASSWORD: "white",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """The facts about one account; times are in seconds since 1970."""

    account: str
    user: str
    mechanism: str
    grant: str = ""
    standing: AccountStanding = AccountStanding.PASSWORD
    token_expires: float | None = None
    trouble: str = ""
    trouble_since: float | None = None
    advice: str = ""

    @property
    def in_order(self) -> bool:
        """True if the account needs no attention."""
        return self.standing not in (AccountStanding.TROUBLE, AccountStanding.SIGN_IN)


def unusable_file(account: AccountSettings) -> str:
    """Return the error in an account's secret files; empty if they are usable."""
    try:
        if account.oauth2 is not None:
            load_credentials(account.oauth2)
        elif account.password_file is not None:
            read_line(account.password_file)
    except SecretUnusable as error:
        return str(error)
    return ""


def row(
    account: AccountSettings, found: SignIn | None, now: ClockReading, unusable: str = ""
) -> AccountStatus:
    """Return the status of an account from its stored sign-in; None: it has no OAuth2.

    ``unusable`` is the error in its secret files, which must be fixed before any renewal.
    """
    oauth2 = account.oauth2
    mechanism = account.mechanism.lower()
    if unusable:
        return AccountStatus(
            account=account.name,
            user=account.user,
            mechanism=mechanism,
            grant="" if oauth2 is None else oauth2.grant,
            standing=AccountStanding.TROUBLE,
            token_expires=None if found is None or found.token is None else expires(found.token),
            trouble=unusable,
            advice="fix the file; only the user of the services may be able to read it",
        )
    if oauth2 is None or found is None:
        return AccountStatus(account=account.name, user=account.user, mechanism=mechanism)
    token, trouble = found.token, found.trouble
    by_person = oauth2.grant in BY_PERSON
    unseeded = found.refresh_token is None and oauth2.refresh_token_file is None
    missing = by_person and unseeded and trouble is None
    if trouble is not None:
        standing = AccountStanding.TROUBLE
    elif missing and (token is None or not is_good(token, now)):
        standing = AccountStanding.SIGN_IN
    elif token is not None and is_good(token, now):
        standing = AccountStanding.GOOD
    else:
        standing = AccountStanding.READY
    advice = "" if trouble is None else trouble.advice
    return AccountStatus(
        account=account.name,
        user=account.user,
        mechanism=mechanism,
        grant=oauth2.grant,
        standing=standing,
        token_expires=None if token is None else expires(token),
        trouble="" if trouble is None else trouble.reason,
        trouble_since=None if trouble is None else trouble.at.wall,
        advice=f"emailrelay-auth login {account.name}"
        if standing is AccountStanding.SIGN_IN
        else advice,
    )


def to_json(entry: AccountStatus) -> dict[str, Any]:
    """Return the row as a JSON object."""
    return {
        "account": entry.account,
        "user": entry.user,
        "mechanism": entry.mechanism,
        "grant": entry.grant or None,
        "state": entry.standing,
        "token_expires": entry.token_expires,
        "last_error": entry.trouble or None,
        "last_error_at": entry.trouble_since,
        "what_to_do": entry.advice or None,
    }


def table(rows: Iterable[AccountStatus], now: float) -> Table:
    """Return the rows as a table."""
    listing = new_table()
    for heading in ("Account", "Mechanism", "State", "Token"):
        listing.add_column(heading, no_wrap=True)
    for heading in ("Last error", "What to do"):
        listing.add_column(heading, overflow="fold")
    for entry in rows:
        listing.add_row(*_cells(entry, now))
    return listing


def _cells(entry: AccountStatus, now: float) -> Iterator[str]:
    yield plain(entry.account)
    yield entry.mechanism
    yield f"[{_COLOURS[entry.standing]}]{entry.standing}[/]"
    yield _life(entry.token_expires, now)
    yield plain(entry.trouble)
    yield plain(entry.advice)


def _life(until: float | None, now: float) -> str:
    if until is None:
        return ""
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(until))
    minutes = (until - now) / 60
    return f"until {day} ({minutes:.0f} min)" if minutes > 0 else f"ended {day}"
