"""The settings of this host that pages show: routes and accounts, read again for each page."""

import asyncio
import os
from pathlib import Path

from emailrelay.config import ForwarderSettings, read
from emailrelay.config.accounts import AccountSettings
from emailrelay.events.event import report_nothing
from emailrelay.oauth import status
from emailrelay.oauth.clocks import read_clocks
from emailrelay.oauth.renewal import Renewal
from emailrelay.oauth.settings import AuthSettings
from emailrelay.oauth.state import SignIn
from emailrelay.oauth.status import AccountStatus
from emailrelay.routes import Routes
from emailrelay.store.chooser import open_tokens
from emailrelay.store.tokens import TokenStore


async def read_routes() -> Routes:
    """Return the routes by the settings of the forwarder.

    Raises:
        ConfigError: the settings of this host are wrong, or are not those of a forwarder.

    """
    settings = await asyncio.to_thread(read, ForwarderSettings, [], os.environ)
    return settings.routes


async def read_accounts(place: str | Path, spool_dir: Path) -> list[AccountStatus]:
    """Return the status of each account; no secret is in it. ``place``: the store of the console.

    Raises:
        ConfigError: the settings of this host are wrong.
        SignInError: the tokens cannot be read.

    """
    settings = await asyncio.to_thread(read, AuthSettings, [], os.environ)
    tokens = open_tokens(place, spool_dir)
    try:
        return [await _status(account, tokens) for account in settings.account]
    finally:
        await tokens.close()


async def _status(account: AccountSettings, tokens: TokenStore) -> AccountStatus:
    found: SignIn | None = None
    if account.oauth2 is not None:
        found = await Renewal(
            account=account, oauth2=account.oauth2, tokens=tokens, report=report_nothing
        ).look()
    unusable = await asyncio.to_thread(status.unusable_file, account)
    return status.row(account, found, read_clocks(), unusable)
