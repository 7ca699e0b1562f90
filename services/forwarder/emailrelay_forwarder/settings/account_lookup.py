"""Our accounts by selector: those of the settings, ``[[account]]``, and of the secrets file."""

from collections.abc import Collection

from emailrelay.config import ForwarderSettings
from emailrelay.config.accounts import AccountSettings
from emailrelay.errors import ConfigError
from emailrelay.events.accounts import SecretsTrouble
from emailrelay.events.event import Report
from emailrelay.oauth.bearer import Bearer
from emailrelay.secrets import ClientAccount, Form, NoSuchAccount, Secret, SecretsFile
from emailrelay.secrets.secret_text import SecretUnusable, read_line
from emailrelay_forwarder.session.account import Account, PasswordAccount, TokenAccount, of_secrets
from emailrelay_forwarder.session.account_servers import account_servers
from emailrelay_forwarder.session.route import NextServer


class AccountLookup:
    """Looks accounts up; see ``account.Accounts``.

    ``AccountLookup(...)`` reads the secrets file and raises ``ConfigError`` with every problem.
    """

    def __init__(self, settings: ForwarderSettings, bearer: Bearer, report: Report) -> None:
        self._file = None if settings.client_auth is None else SecretsFile(settings.client_auth)
        self._tables = {table.name: table for table in settings.account}
        self._servers = account_servers(settings)
        self._bearer = bearer
        self._report = report

    def __call__(self, selector: str, server: NextServer) -> Account | None:
        """Return the account of a selector; the settings take precedence over the secrets file.

        Raises:
            NoSuchAccount: there are accounts, but not this one.
            NotForServer: the account is for other servers than this one.
            SecretUnusable: the password cannot be read.

        """
        found = self._find(selector)
        if found is not None:
            self._servers.check(selector, server)
        return found

    def _find(self, selector: str) -> Account | None:
        if selector in self._tables:
            return self._of_table(self._tables[selector])
        if self._file is None:
            if selector and self._tables:
                raise NoSuchAccount(f"the settings have no [[account]] named {selector!r}")
            return None
        try:
            self._file.refresh()
        except ConfigError as error:
            self._report(SecretsTrouble(reason=" ".join(str(error).split("\n"))))
        found = self._file.client.account(selector)
        return None if found is None else of_secrets(found)

    def _of_table(self, table: AccountSettings) -> Account:
        if table.password_file is not None:
            # Each session reads the password from its file, so it can be changed.
            secret = read_line(table.password_file)
            account = ClientAccount(
                selector=table.name, form=Form.PLAIN, id=table.user, secret=secret
            )
            return PasswordAccount(account, (table.mechanism,))

        async def token(*, renew: bool) -> Secret:
            return Secret(await self._bearer(table.name, renew=renew))

        return TokenAccount(table.user, token, (table.mechanism,))


def problems_of(settings: ForwarderSettings) -> list[str]:
    """Return a line for each problem of accounts that the settings alone do not show."""
    found: list[str] = []
    for table in settings.account:
        try:
            if table.password_file is not None:
                read_line(table.password_file)
        except SecretUnusable as error:
            found.append(f"[[account]] {table.name}: {error}")
    if settings.client_auth is None:
        found += [f"[[route]] {problem}" for problem in accounts_of_routes(settings, ())]
    return found


def accounts_of_routes(settings: ForwarderSettings, selectors: Collection[str]) -> list[str]:
    """Return a line for each route whose account does not exist.

    ``selectors`` are those of the secrets file.
    """
    known = {table.name for table in settings.account} | set(selectors)
    return [
        f"{route.name}: there is no [[account]] named {route.account}"
        for route in settings.route
        if route.account is not None and route.account not in known
    ]
