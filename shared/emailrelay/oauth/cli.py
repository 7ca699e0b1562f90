"""``emailrelay-auth``: signing in to accounts that use OAuth2, and seeing how they stand."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from emailrelay.config.accounts import BY_PERSON, AccountSettings, Grant
from emailrelay.errors import ConfigError, RelayError, SignInError, StoreUnusable, reason_of
from emailrelay.oauth import device, request, settings, status
from emailrelay.oauth.device import Invitation, TooLate
from emailrelay.oauth.material import load
from emailrelay.oauth.moment import read_clocks
from emailrelay.oauth.renewal import CAUSES, Renewal
from emailrelay.oauth.state import SignIn
from emailrelay.oauth.terminal import PROGRAM, complain, console, tell
from emailrelay.oauth.token import Issued, Token, expires
from emailrelay.secrets import Secret
from emailrelay.standard_streams import prepare_streams

_INTERRUPTED = 130
"""What the library gives after Ctrl-C: 128 and the number of the signal."""

_HELP = "Sign in to accounts that use OAuth2, and see how they stand."

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="EMAILRELAY_CONFIG",
        help="The settings file, with its [[account]] tables.",
    ),
]
SpoolDir = Annotated[
    Path | None,
    typer.Option("--spool-dir", "-s", metavar="DIR", help="The spool directory."),
]
Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The name of an [[account]].")]

app = typer.Typer(
    name=PROGRAM,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status (docs/auth.md)."""
    prepare_streams()
    try:
        found: int = app(argv, prog_name=PROGRAM, standalone_mode=False) or os.EX_OK
        sys.stdout.flush()
    except typer.TyperException as error:
        words = error.format_message() or "say what to do, see --help"
        return [complain(line, os.EX_USAGE) for line in words.splitlines() if line][-1]
    except typer.Abort:
        return complain("given up; nothing was changed", 1)
    except ConfigError as error:
        for problem in error.problems:
            complain(problem, os.EX_CONFIG)
        return os.EX_CONFIG
    except StoreUnusable as error:
        return complain(str(error), os.EX_NOINPUT)
    except RelayError as error:
        return complain(str(error), 1)
    except OSError as error:
        return complain(reason_of(error), os.EX_TEMPFAIL)
    return complain("given up; nothing was changed", found) if found == _INTERRUPTED else found


def login(*, account: Name, config: Config = None, directory: SpoolDir = None) -> int:
    """Sign in: with a code in a browser, or with a refresh token from standard input."""
    renewal = _renewal(settings.load(config, directory, os.environ), account)
    if renewal.oauth2.grant not in BY_PERSON:
        sys.stdout.write(f"{account} needs no person to sign in; a token is fetched\n")
        return _fetch(renewal)
    by_code = renewal.oauth2.grant is Grant.DEVICE_CODE
    try:
        issued = asyncio.run(_sign_in(renewal, by_code=by_code))
    except TooLate as error:
        reason = "the code was not typed in time"
        raise SignInError(account, reason, f"{PROGRAM} login {account}") from error
    except CAUSES as error:
        raise renewal.explain(error) from error
    _tell_token(renewal.account, issued.token)
    if issued.refresh_token is None:
        return complain(
            "the provider gave no refresh token: this ends with the token; ask for one in scope", 1
        )
    return os.EX_OK


def refresh(
    *,
    accounts: Annotated[list[str], typer.Argument(metavar="ACCOUNT...")],
    config: Config = None,
    directory: SpoolDir = None,
) -> int:
    """Fetch new tokens now, whatever the old ones are good for."""
    found = settings.load(config, directory, os.environ)
    worst = os.EX_OK
    for name in accounts:
        renewal = _renewal(found, name)
        try:
            worst = max(worst, _fetch(renewal))
        except SignInError as error:
            worst = complain(str(error), 1)
    return worst


def show(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")] = False,
    config: Config = None,
    directory: SpoolDir = None,
) -> int:
    """Tell how each account stands; exit with 1 if somebody must do something."""
    found, now = settings.load(config, directory, os.environ), read_clocks()
    states = asyncio.run(_states(found))
    rows = [
        status.row(account, states.get(account.name), now, status.unusable_file(account))
        for account in found.tables
    ]
    if as_json:
        sys.stdout.writelines(json.dumps(status.to_json(entry)) + "\n" for entry in rows)
    elif rows:
        console().print(status.table(rows, time.time()))
    else:
        sys.stdout.write("no accounts: the settings have no [[account]]\n")
    return os.EX_OK if all(entry.in_order for entry in rows) else 1


async def _states(found: settings.OAuthAccounts) -> dict[str, SignIn]:
    """Read how the accounts that use OAuth2 stand."""
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
        raise ConfigError([f"{name}: has a password, and no [account.oauth2]"])
    return Renewal(account=account, oauth2=account.oauth2, tokens=found.tokens, report=tell)


def _fetch(renewal: Renewal) -> int:
    async def fetch() -> Token:
        try:
            return await renewal.renew(forced=True)
        finally:
            await renewal.tokens.close()

    _tell_token(renewal.account, asyncio.run(fetch()))
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
    """Take a refresh token from the person, and try it before anything is kept."""
    given = Secret(_ask_secret(f"Refresh token of {renewal.account.user}"))
    proof = load(renewal.oauth2)
    issued = await renewal.ask_once(request.form(renewal.oauth2, given), proof)
    return Issued(token=issued.token, refresh_token=issued.refresh_token or given)


def _ask_secret(what: str) -> str:
    # Never an argument: those are seen by every user of the machine.
    if sys.stdin.isatty():
        answer: str = typer.prompt(what, hide_input=True)
    else:
        answer = sys.stdin.readline()
    answer = answer.strip()
    if not answer or not (answer.isascii() and answer.isprintable()):
        raise typer.BadParameter("a refresh token is one line of printable characters")
    return answer


def _invite(invitation: Invitation) -> None:
    minutes = max(1, int(invitation.seconds // 60))
    sys.stdout.write(
        "\nOpen this page in a browser, on any device:\n\n"
        f"    {invitation.url}\n\n"
        "and type this code:\n\n"
        f"    {invitation.code}\n\n"
    )
    if invitation.complete_url:
        sys.stdout.write(
            f"or open this one, with the code in it:\n\n    {invitation.complete_url}\n\n"
        )
    sys.stdout.write(
        f"Sign in there as the user of the account. The code is good for {minutes} minutes;"
        " waiting ...\n"
    )
    sys.stdout.flush()


def _tell_token(account: AccountSettings, token: Token) -> None:
    until = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(expires(token)))
    sys.stdout.write(
        f"{account.name}: signed in as {account.user}; the token is good until {until}\n"
    )


def _print_version(asked: bool) -> None:  # noqa: FBT001 - the library's signature
    if asked:
        sys.stdout.write(f"{PROGRAM} {metadata.version('emailrelay')}\n")
        raise typer.Exit


def _common(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.callback(help=_HELP)(_common)
app.command()(login)
app.command("status")(show)
app.command()(refresh)
