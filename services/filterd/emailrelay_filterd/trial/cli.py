"""The command line of ``emailrelay-filter-test``."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.config import FilterdSettings
from emailrelay.config.filtering import FilterTableOptions
from emailrelay.config.flags import CommandLine
from emailrelay.config.reading import collect
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.filters.program import ProgramLimits
from emailrelay.filters.shipped.parameters import NO_TABLES
from emailrelay.filters.spec import KINDS, check_side, parse_chain, unstartable
from emailrelay.filters.verdict import Accept, Side
from emailrelay.standard_streams import prepare_streams
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.common_options import CONFIG
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.run_command import CommandLineError
from emailrelay_filterd.trial import trial, words
from emailrelay_filterd.trial.render import lines

PROGRAM = "emailrelay-filter-test"
_EXAMPLE = b"""\
From: Example <me@example.org>
To: you@example.net
Subject: a message to try filters on
Date: Thu, 01 Jan 2026 12:00:00 +0000
Message-ID: <example@example.org>

This message is sent nowhere.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Try the filters; return 0 if all can start and accept, else 1; 64 or 66 for bad input."""
    prepare_streams()
    try:
        asked = parser().parse(argv)
        settings = _settings(asked.config)
        filters = parse_chain(asked.filters, settings.filter_tables if settings else NO_TABLES)
        side = Side.CLIENT if asked.client else Side.SERVER
        check_side(filters, side)
    except CommandLineError as error:
        return print_errors(PROGRAM, *str(error).splitlines(), status=os.EX_USAGE)
    except ConfigError as error:
        return print_errors(PROGRAM, *error.problems, status=os.EX_USAGE)
    # The verdict does not show the reason, nor a filter that this message does not reach.
    broken = unstartable(filters)
    print_errors(PROGRAM, *(f"{path}: {why}" for path, why in broken.items()))
    try:
        content = _message(asked.message)
    except OSError as error:
        wrong = f"{asked.message}: cannot be read: {error.strerror}"
        return print_errors(PROGRAM, wrong, status=os.EX_NOINPUT)
    found = trial.run(
        *(filters, side, content, _envelope(asked), ProgramLimits(timeout=asked.timeout)),
        domain=settings.domain if settings else None,
    )
    sys.stdout.writelines(f"{line}\n" for line in lines(found, side))
    return os.EX_OK if isinstance(found.spoken.verdict, Accept) and not broken else 1


def _envelope(asked: Namespace) -> Envelope:
    named = asked.remote or asked.local
    arrival = None
    if asked.client_address or asked.helo or asked.user:
        arrival = ArrivalFacts(helo=asked.helo, mechanism="PLAIN" if asked.user else "")
    return Envelope(
        sender=asked.sender,
        to_local=tuple(asked.local),
        to_remote=tuple(asked.remote) if named else (Address("you@example.net"),),
        authentication=asked.user,
        client=asked.client_address or "127.0.0.1",
        arrival=arrival,
    )


def _settings(config: str | None) -> FilterdSettings | None:
    """Return the settings of the file, with the tables for specs such as ``pipe:NAME``.

    None: it cannot be read, and none was asked for.

    Raises:
        ConfigError: the tables are wrong, or the file cannot be read.

    """
    options = frozenset(FilterTableOptions.model_fields)
    got = collect(FilterdSettings, CommandLine({}, config=config), os.environ)
    # Without permission to read the usual file, filters without tables can be tried all the same.
    if got.wrong & options or (config is not None and not got.file.path):
        raise ConfigError(got.problems)
    return got.rest


def _message(path: str | None) -> bytes:
    if path is None:
        return _EXAMPLE
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def parser() -> CommandLineParser:
    """Return the parser of the command line."""
    parser = CommandLineParser(
        PROGRAM,
        "[options] SPEC...",
        "Run filters on a copy of a message, as the relay does, and print the verdict, the reply "
        "for the client and the changes. Nothing is sent, and no message is put into the store.",
        notes=(
            "The standard error of filter programs is shown.",
            "The filters archive:, copy: and deliver: do write their copies.",
        ),
        statuses=(
            (0, "accepted"),
            (1, "any other verdict, or a filter cannot start"),
            (64, "the command line is wrong"),
            (66, "the message cannot be read"),
        ),
        examples=(
            f"{PROGRAM} exit:0",
            f"{PROGRAM} --message mail.eml spam:127.0.0.1:783",
            f"{PROGRAM} 'header:add=X-Relay: mail.example.com'",
        ),
    )
    parser.add_argument(
        "filters",
        nargs="+",
        metavar="SPEC",
        help=f"A filter, as for --filter: {KINDS}. Several form a chain.",
    )
    parser.add_argument(
        "--client",
        action="store_true",
        help="Run them as client filters, whose exit codes have other meanings.",
    )
    parser.add_argument(*CONFIG.names, metavar=CONFIG.word, help=CONFIG.text)
    parser.add_argument(
        "--message", metavar="FILE", help="The message; - for standard input. [an example]"
    )
    parser.add_argument(
        "--from",
        dest="sender",
        type=words.sender,
        metavar="ADDRESS",
        default=Address("me@example.org"),
        help="The sender; empty for that of notices. [me@example.org]",
    )
    parser.add_argument(
        "--to",
        dest="remote",
        type=words.recipient,
        metavar="ADDRESS",
        action="append",
        default=[],
        help="A recipient. Repeatable. [you@example.net]",
    )
    parser.add_argument(
        "--to-local",
        dest="local",
        type=words.recipient,
        metavar="ADDRESS",
        action="append",
        default=[],
        help="A recipient that is a mailbox of this host, as an address verifier says. Repeatable.",
    )
    parser.add_argument(
        "--client-address",
        type=words.client,
        metavar="IP",
        help="The address of the client, for filters such as milters. [a program of this host]",
    )
    parser.add_argument(
        "--helo", type=words.name, metavar="NAME", default="", help="The client's name in EHLO."
    )
    parser.add_argument(
        "--user",
        type=words.name,
        metavar="NAME",
        default="",
        help="The name of the client's login.",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=words.seconds,
        default=60.0,
        help="The time limit of each program. [60]",
    )
    return parser
