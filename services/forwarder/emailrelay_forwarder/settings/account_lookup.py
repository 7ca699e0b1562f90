"""The accounts of the secrets file and of the settings, by selector."""

from collections.abc import Mapping
from pathlib import Path

from emailrelay.errors import ConfigError
from emailrelay.events import Report, SecretsTrouble
from emailrelay.secrets import NoSuchAccount, SecretsFile
from emailrelay_forwarder.session.account import Account, of_secrets
from emailrelay_forwarder.session.account_servers import AccountServers
from emailrelay_forwarder.session.route import NextServer


class AccountLookup:
    """Looks accounts up; see ``account.Accounts``.

    ``AccountLookup(...)`` reads the secrets file and raises ``ConfigError`` with every problem.
    """

    def __init__(
        self,
        path: Path | None,
        accounts: Mapping[str, Account],
        servers: AccountServers,
        report: Report,
    ) -> None:
        self._file = None if path is None else SecretsFile(path)
        self._accounts = accounts
        self._servers = servers
        self._report = report

    def __call__(self, selector: str, server: NextServer) -> Account | None:
        """Return the account of a selector; the settings take precedence over the secrets file.

        Raises:
            NoSuchAccount: there are accounts, but not this one.
            NotForServer: the account is for other servers than this one.

        """
        found = self._find(selector)
        if found is not None:
            self._servers.check(selector, server)
        return found

    def _find(self, selector: str) -> Account | None:
        if selector in self._accounts:
            return self._accounts[selector]
        if self._file is None:
            if selector and self._accounts:
                raise NoSuchAccount(f"the settings have no [[account]] named {selector!r}")
            return None
        try:
            self._file.refresh()
        except ConfigError as error:
            self._report(SecretsTrouble(reason=" ".join(str(error).split("\n"))))
        found = self._file.client.account(selector)
        return None if found is None else of_secrets(found)
