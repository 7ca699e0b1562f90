"""The settings of emailrelay-auth: the accounts, and the store of their tokens."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emailrelay import spool_owner
from emailrelay.config import Settings, read
from emailrelay.config.accounts import AccountOptions, AccountSettings
from emailrelay.errors import ConfigError, StoreUnusable
from emailrelay.store.chooser import open_tokens, token_directory
from emailrelay.store.tokens import TokenStore


class AuthSettings(AccountOptions, Settings):
    """Settings of emailrelay-auth."""

    service = "auth"
    program = "emailrelay-auth"
    summary = "Signs in to accounts that use OAuth2."


@dataclass(frozen=True, slots=True)
class OAuthAccounts:
    """The accounts of a settings file, and their tokens."""

    tables: tuple[AccountSettings, ...]
    tokens: TokenStore

    def named(self, name: str) -> AccountSettings:
        """Return the account of this name.

        Raises:
            ConfigError: there is no such account.

        """
        for account in self.tables:
            if account.name == name:
                return account
        known = ", ".join(map(str, self.tables)) or "none"
        raise ConfigError([f"{name}: no [[account]] has this name; the names are: {known}"])


def load(
    config: Path | str | None, given: Path | str | None, environ: Mapping[str, str]
) -> OAuthAccounts:
    """Read the settings. ``given``: the store that the command line names, a directory or a URL.

    Raises:
        ConfigError: with every problem.
        StoreUnusable: there is no such spool directory; this command does not create it.

    """
    argv = [] if config is None else ["--config", os.fspath(config)]
    settings = read(AuthSettings, argv, environ)
    where = given or settings.store_place
    root = token_directory(where, settings.spool_dir)
    if root is not None:
        if not root.is_dir():
            raise StoreUnusable(f"{root}: there is no such spool directory; use --spool-dir DIR")
        spool_owner.become(root)  # the services cannot read a token that root stored
    return OAuthAccounts(settings.account, open_tokens(where, settings.spool_dir))
