"""The sign-ins of accounts that need a person or an administrator."""

from collections.abc import Sequence

from emailrelay.config.accounts import AccountSettings
from emailrelay.events.event import Report
from emailrelay.oauth.clocks import read_clocks
from emailrelay.oauth.renewal import Renewal
from emailrelay.store.tokens import TokenStore


async def trouble_of(
    accounts: Sequence[AccountSettings], tokens: TokenStore, report: Report
) -> dict[str, str]:
    """Return, by account, why mail for it waits and what to do; nothing for accounts in order.

    Raises:
        StoreError, SignInError: the tokens cannot be read.

    """
    from emailrelay.oauth import status  # noqa: PLC0415 -- services start without its tables

    found: dict[str, str] = {}
    try:
        for account in accounts:
            if account.oauth2 is None:
                continue
            renewal = Renewal(account=account, oauth2=account.oauth2, tokens=tokens, report=report)
            row = status.row(account, await renewal.look(), read_clocks())
            if not row.in_order:
                reason = row.trouble or "a person must sign in first"
                found[account.name] = f"{reason} ({row.advice})"
    finally:
        await tokens.close()
    return found
