"""``emailrelay-doctor``: the command line, the choice of servers and the output."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from emailrelay import spool_owner
from emailrelay.config import ForwarderSettings, flags
from emailrelay.config.reading import gather
from emailrelay.errors import ConfigError, RelayError
from emailrelay.events.event import report_nothing
from emailrelay.oauth.bearer import Bearer
from emailrelay.routes import DEFAULT
from emailrelay.routes import Route as Way
from emailrelay.standard_streams import prepare_streams
from emailrelay.store.chooser import open_tokens, token_directory
from emailrelay.terminal import common_options
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.output import output_until_closed
from emailrelay.terminal.run_command import CommandLineError
from emailrelay.terminal.screen import console
from emailrelay.terminal.version import print_version
from emailrelay_forwarder.doctor.examination import Examination
from emailrelay_forwarder.doctor.finding import ServerReport
from emailrelay_forwarder.doctor.render import as_json, show
from emailrelay_forwarder.server.route_servers import servers
from emailrelay_forwarder.session.account import no_account
from emailrelay_forwarder.session.account_servers import NotForServer, account_servers
from emailrelay_forwarder.session.route import NextServer, parse
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.settings.policy_settings import check_files, sessions_of

PROGRAM = "emailrelay-doctor"
_OTHER_OPTIONS = (
    "All options of emailrelay-forwarder are valid here too (--client-auth FILE, "
    "--client-tls-verify CA, ...); they override the settings file."
)
_PIPED_WIDTH = 100
_UNUSED = "localhost:25"
_WITHHELD = (
    "the account of client_auth is for other servers (give --client-auth FILE to try it here)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Examine servers; return 0 if there is no problem, 1 for a problem, 64 for wrong usage."""
    prepare_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    own = parser()
    if {"-h", "--help"} & set(words):
        own.print_help()
        return os.EX_OK
    try:
        options = flags.parse(ForwarderSettings, words)
    except ConfigError as error:
        return print_errors(PROGRAM, *error.problems, status=os.EX_USAGE)
    if options.version:
        print_version(PROGRAM, verbose="verbose" in options.values)
        return os.EX_OK
    try:
        asked, unknown = own.parse_known_args(options.unknown)
    except CommandLineError as error:
        return print_errors(PROGRAM, f"{error}; see --help", status=os.EX_USAGE)
    strange = [word.split("=", 1)[0] for word in unknown if word.startswith("-")]
    misspelt = [
        f"{option}: unknown option; did you mean {meant}?"
        for option in strange
        if (meant := own.meant(option))
    ]
    if misspelt:
        return print_errors(PROGRAM, *misspelt, status=os.EX_USAGE)
    target: str = asked.target or ""
    by_address = ":" in target or target.startswith("/")
    name = None if by_address else target or None
    values = dict(options.values)
    if by_address:
        values["forward_to"] = target
    elif name not in {None, DEFAULT}:
        # The named route needs no forward_to. A missing route gets a better message later.
        values.setdefault("forward_to", _UNUSED)
    options = replace(options, unknown=unknown)
    try:
        settings = gather(ForwarderSettings, replace(options, values=values), os.environ)
        check_files(settings)
        ways = _chosen(settings, DEFAULT if by_address else name)
        tokens = token_directory(settings.store_place, settings.spool_dir)
        if tokens is not None and any(account.oauth2 for account in settings.account):
            # Only the services' user can use the tokens; root cannot.
            spool_owner.become(tokens)
        withheld = by_address and _is_foreign(options, settings)
        reports = asyncio.run(_examine(settings, ways, asked, withheld=withheld))
    except ConfigError as error:
        return print_errors(PROGRAM, *error.problems, status=os.EX_USAGE)
    except RelayError as error:
        return print_errors(PROGRAM, str(error), status=os.EX_USAGE)
    with output_until_closed():
        if asked.json:
            sys.stdout.write(as_json(reports) + "\n")
        else:
            show(reports, console(_PIPED_WIDTH))
    return os.EX_OK if all(report.well for report in reports) else 1


def parser() -> CommandLineParser:
    """Return the parser of the options that the forwarder does not have."""
    parser = CommandLineParser(
        PROGRAM,
        "[options] [HOST:PORT | ROUTE]",
        "Find out why a server does not accept mail: try DNS, TCP, greeting, EHLO, "
        "TLS, login and, with --from or --to, MAIL and RCPT, one by one. No message is sent.",
        notes=(_OTHER_OPTIONS,),
        statuses=((0, "no problem"), (1, "a problem"), (64, "the command line is wrong")),
        examples=(
            PROGRAM,
            f"{PROGRAM} smtp.example.net:587 --to you@example.net",
        ),
    )
    parser.add_argument(
        "target",
        nargs="?",
        metavar="HOST:PORT | ROUTE",
        help="The server, or the name of a [[route]]. [forward_to and all routes]",
    )
    parser.add_argument(
        "--from",
        dest="sender",
        metavar="ADDRESS",
        help="Try MAIL with this sender, then RSET. [with --to: the null sender]",
    )
    parser.add_argument(
        "--to",
        dest="recipients",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="Try RCPT with this recipient too. Repeatable.",
    )
    parser.add(common_options.JSON, action="store_true")
    parser.add(common_options.CONFIG)  # flags.parse() takes it
    return parser


def _chosen(settings: ForwarderSettings, name: str | None) -> list[Way]:
    """Return the routes to examine.

    Raises:
        ConfigError: there is no route of that name.

    """
    found = settings.routes
    every = [*([found.default] if found.default else []), *found.listed]
    chosen = [way for way in every if name in {None, way.name}]
    if not chosen:
        known = ", ".join(way.name for way in found.listed)
        routes = f"; there are: {known}" if known else ""
        text = f"{name}: neither HOST:PORT nor the name of a [[route]]{routes}"
        ports = f"{name}:587 (with a login) or {name}:25 (between servers)"
        raise ConfigError([f"{text}. Write a server with its port: {ports}"])
    return chosen


def _is_foreign(options: flags.CommandLine, settings: ForwarderSettings) -> bool:
    """Tell whether the account in the settings belongs to other servers than the examined one.

    A server on the command line may be mistyped, and must not get the password then.
    """
    if settings.client_auth is None or "client_auth" in options.values:
        return False
    try:
        configured = gather(ForwarderSettings, options, os.environ)
        account_servers(configured).check("", parse(settings.forward_to or ""))
    except NotForServer:
        return True
    except ConfigError:
        pass  # only the account is configured
    return False


async def _examine(
    settings: ForwarderSettings,
    ways: Sequence[Way],
    asked: argparse.Namespace,
    *,
    withheld: bool,
) -> list[ServerReport]:
    tokens = open_tokens(settings.store_place, settings.spool_dir)
    bearer = Bearer(settings.account, tokens, report=report_nothing)
    sessions = replace(sessions_of(settings, report_nothing, bearer), dialogue=None)
    if withheld:
        sessions = replace(sessions, accounts=no_account)
    try:
        return [
            await _report(way, route, sessions, asked, withheld=withheld)
            for way in ways
            for route in servers(way, sessions.policy)
        ]
    finally:
        await bearer.close()


async def _report(
    way: Way,
    route: NextServer,
    sessions: SessionSettings,
    asked: argparse.Namespace,
    *,
    withheld: bool,
) -> ServerReport:
    sender = asked.sender if asked.sender is not None else ("" if asked.recipients else None)
    examination = Examination(
        route=route,
        settings=sessions,
        sender=sender,
        recipients=tuple(asked.recipients),
        no_account=_WITHHELD if withheld else "no account is set",
    )
    name = str(route) if way.name == DEFAULT else f"{way.name}: {route}"
    return ServerReport(server=name, findings=await examination.run())
