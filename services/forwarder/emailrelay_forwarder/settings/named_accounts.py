"""The accounts in the settings, ``[[account]]``, in the form that sessions use."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from emailrelay.config import ForwarderSettings
from emailrelay.config.accounts import AccountSettings as Table
from emailrelay.oauth.bearer import Bearer
from emailrelay.secrets import ClientAccount, Form, Secret
from emailrelay.secrets.secret_text import SecretUnusable, read_line
from emailrelay_forwarder.session.account import Account, PasswordAccount, TokenAccount


class NamedAccounts(Mapping[str, Account]):
    """Accounts by name. Each session reads the password from its file, so it can be changed.

    A look-up raises SecretUnusable if the password cannot be read.
    """

    def __init__(self, tables: Iterable[Table], bearer: Bearer) -> None:
        self._tables = {table.name: table for table in tables}
        self._bearer = bearer

    def __getitem__(self, name: str) -> Account:
        table = self._tables[name]
        if table.password_file is None:
            return self._with_token(table)
        return _with_password(table, table.password_file)

    def __contains__(self, name: object) -> bool:
        # The inherited test would read the password's file.
        return name in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def _with_token(self, table: Table) -> TokenAccount:
        async def token(*, renew: bool) -> Secret:
            return Secret(await self._bearer(table.name, renew=renew))

        return TokenAccount(table.user, token, (table.mechanism,))


def _with_password(table: Table, path: Path) -> PasswordAccount:
    account = ClientAccount(
        selector=table.name, form=Form.PLAIN, id=table.user, secret=read_line(path)
    )
    return PasswordAccount(account, (table.mechanism,))


def problems_of(settings: ForwarderSettings) -> list[str]:
    """Return a line for each problem of accounts that the settings alone do not show."""
    found: list[str] = []
    for table in settings.account:
        try:
            if table.password_file is not None:
                read_line(table.password_file)
        except SecretUnusable as error:
            found.append(f"[[account]] {table.name}: {error}")
    known = {table.name for table in settings.account}
    if settings.client_auth is None:
        found += [
            f"[[route]] {route.name}: there is no [[account]] named {route.account}"
            for route in settings.route
            if route.account is not None and route.account not in known
        ]
    return found
