"""``emailrelay-auth``: signs in to accounts that use OAuth2, and shows their status."""

import asyncio
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence

from emailrelay.config.accounts import BY_PERSON, AccountSettings, Grant
from emailrelay.errors import ConfigError, SignInError
from emailrelay.events.event import Event, Level
from emailrelay.oauth import device, request, settings, status
from emailrelay.oauth.clocks import read_clocks
from emailrelay.oauth.credentials import load_credentials
from emailrelay.oauth.device import CodeExpired, Invitation
from emailrelay.oauth.renewal import Renewal
from emailrelay.oauth.state import SignIn
from emailrelay.oauth.token import Issued, Token, expires
from emailrelay.oauth.trouble import CAUSES
from emailrelay.secrets import Secret
from emailrelay.terminal import ask
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.output import print_json, print_line
from emailrelay.terminal.run_command import CommandLineError, run_command
from emailrelay.terminal.screen import console
from emailrelay.terminal.verbs import (
    ProgramOfVerbs,
    Verb,
    add_config,
    add_json,
    add_spool_dir,
    add_store,
)

PROGRAM = "emailrelay-auth"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/auth.md)."""
    words = sys.argv[1:] if argv is None else list(argv)
    state = "nothing was changed"
    return run_command(lambda: AUTH.run(words), program=PROGRAM, failed=1, interrupted=state)


def _login(asked: Namespace) -> int:
    account: str = asked.account
    renewal = _renewal(_accounts(asked), account)
    if renewal.oauth2.grant not in BY_PERSON:
        print_line(f"{account} needs no person to sign in; a token is fetched")
        return _fetch(renewal)
    by_code = renewal.oauth2.grant is Grant.DEVICE_CODE
    try:
        issued = asyncio.run(_sign_in(renewal, by_code=by_code))
    except CodeExpired as error:
        reason = "the code was not entered in time"
        raise SignInError(account, reason, f"sign in again: {PROGRAM} login {account}") from error
    except CAUSES as error:
        raise renewal.explain(error) from error
    _print_token(renewal.account, issued.token)
    if issued.refresh_token is None:
        return print_errors(
            PROGRAM,
            "the provider gave no refresh token, so the sign-in ends with the access token; "
            "request one in scope (offline_access) and sign in again",
            status=1,
        )
    return os.EX_OK


def _refresh(asked: Namespace) -> int:
    found = _accounts(asked)
    worst = os.EX_OK
    for name in asked.accounts:
        renewal = _renewal(found, name)
        try:
            worst = max(worst, _fetch(renewal))
        except SignInError as error:
            worst = print_errors(PROGRAM, str(error), status=1)
    return worst


def _show(asked: Namespace) -> int:
    found, now = _accounts(asked), read_clocks()
    states = asyncio.run(_states(found))
    rows = [
        status.row(account, states.get(account.name), now, status.unusable_file(account))
        for account in found.tables
    ]
    if asked.json:
        for entry in rows:
            print_json(status.to_json(entry))
    elif rows:
        console().print(status.table(rows, time.time()))
    else:
        print_line("no accounts: the settings have no [[account]] table")
    return os.EX_OK if all(entry.in_order for entry in rows) else 1


def _accounts(asked: Namespace) -> settings.OAuthAccounts:
    return settings.load(asked.config, asked.spool_dir or asked.store, os.environ)


async def _states(found: settings.OAuthAccounts) -> dict[str, SignIn]:
    """Read the state of each account that uses OAuth2."""
    try:
        return {
            account.name: await _renewal(found, account.name).look()
            for account in found.tables
            if account.oauth2 is not None
        }
    finally:
        await found.tokens.close()


def _renewal(found: settings.OAuthAccounts, name: str) -> Renewal:
    account = found.named(name)
    if account.oauth2 is None:
        raise ConfigError(
            [f"{name}: has a password, so there is no token to fetch (no [account.oauth2])"]
        )
    return Renewal(account=account, oauth2=account.oauth2, tokens=found.tokens, report=_report)


def _fetch(renewal: Renewal) -> int:
    async def fetch() -> Token:
        try:
            return await renewal.renew(forced=True)
        finally:
            await renewal.tokens.close()

    _print_token(renewal.account, asyncio.run(fetch()))
    return os.EX_OK


async def _sign_in(renewal: Renewal, *, by_code: bool) -> Issued:
    try:
        issued = await (
            device.sign_in(renewal, _invite) if by_code else _with_refresh_token(renewal)
        )
        await renewal.keep_sign_in(issued)
    finally:
        await renewal.tokens.close()
    return issued


async def _with_refresh_token(renewal: Renewal) -> Issued:
    """Read a refresh token from the user, and try it before anything is stored."""
    given = Secret(_ask_secret(f"Refresh token of {renewal.account.user}"))
    credentials = load_credentials(renewal.oauth2)
    issued = await renewal.ask_once(request.form(renewal.oauth2, given), credentials)
    return Issued(token=issued.token, refresh_token=issued.refresh_token or given)


def _ask_secret(what: str) -> str:
    # Never an argument: every user of the machine can see those.
    answer = ask.secret(what) if sys.stdin.isatty() else sys.stdin.readline()
    answer = answer.strip()
    if not answer or not (answer.isascii() and answer.isprintable()):
        raise CommandLineError("a refresh token is one line of printable characters")
    return answer


def _invite(invitation: Invitation) -> None:
    minutes = max(1, int(invitation.seconds // 60))
    complete = ""
    if invitation.complete_url:
        complete = (
            f"or open this page, which contains the code:\n\n    {invitation.complete_url}\n\n"
        )
    sys.stdout.write(
        "\nOpen this page in a browser, on any device:\n\n"
        f"    {invitation.url}\n\n"
        "and type this code:\n\n"
        f"    {invitation.code}\n\n"
        f"{complete}"
        f"Sign in there as the user of the account. The code is valid for {minutes} minutes;"
        " waiting ...\n"
    )
    sys.stdout.flush()


def _print_token(account: AccountSettings, token: Token) -> None:
    until = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(expires(token)))
    print_line(f"{account.name}: signed in as {account.user}; the token is valid until {until}")


def _report(event: Event) -> None:
    """Print errors; the trouble that ends the command is only a warning and is printed there."""
    if event.level is Level.ERROR:
        print_errors(PROGRAM, str(event))


def _add_account(parser: CommandLineParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="The name of an [[account]] table.")


def _add_accounts(parser: CommandLineParser) -> None:
    parser.add_argument(
        "accounts", nargs="+", metavar="ACCOUNT", help="Names of [[account]] tables."
    )


AUTH = ProgramOfVerbs(
    PROGRAM,
    "Sign in to accounts that use OAuth2, and show their status.",
    {
        "login": Verb(
            "Sign in with a browser, or a refresh token on standard input.",
            "[options] ACCOUNT",
            _login,
            (_add_account,),
            ("login office",),
        ),
        "status": Verb(
            "Show each account's status; exit 1 if one needs attention.",
            "[options]",
            _show,
            (add_json,),
            ("status --json",),
        ),
        "refresh": Verb(
            "Fetch new tokens now, even if the old ones are still valid.",
            "[options] ACCOUNT...",
            _refresh,
            (_add_accounts,),
            ("refresh office",),
        ),
    },
    statuses=(
        (0, "done (status: all accounts are in order)"),
        (1, "a sign-in failed, or an account needs attention"),
        (64, "the command line is wrong"),
        (66, "there is no such store"),
        (75, "a file or the store cannot be used now"),
        (78, "the settings are wrong"),
    ),
    examples=("status", "login office"),
    options=(add_config, add_spool_dir, add_store),
)
