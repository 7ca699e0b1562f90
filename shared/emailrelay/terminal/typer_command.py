"""Commands made with Typer: the options that all have, and errors turned into exit codes."""

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.run_command import CommandLineError, run_command

SpoolDir = Annotated[
    Path | None,
    typer.Option("--spool-dir", "-s", metavar="DIR", help="The spool directory."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def new_app(program: str, summary: str) -> typer.Typer:
    """Return an application without commands, with the options ``--version`` and ``--help``."""
    app = typer.Typer(
        name=program,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # it would take [[account]] in a help text for markup
    )

    def print_version(asked: bool) -> None:  # noqa: FBT001 - the library's signature
        if asked:
            sys.stdout.write(f"{program} {metadata.version('emailrelay')}\n")
            raise typer.Exit

    def common(
        *,
        version: Annotated[
            bool,
            typer.Option(
                "--version",
                "-V",
                callback=print_version,
                is_eager=True,
                help="Show the version and exit.",
            ),
        ] = False,
    ) -> None:
        pass

    app.callback(help=summary)(common)
    return app


def run(
    app: typer.Typer,
    argv: Sequence[str] | None,
    *,
    program: str,
    aborted: str,
    failed: int = os.EX_TEMPFAIL,
) -> int:
    """Run the command line; return the exit status (sysexits.h).

    ``aborted`` is printed after a "no" to a question, ``failed`` is the status of a ``RelayError``
    that has no other.
    """

    def act() -> int:
        try:
            return app(argv, prog_name=program, standalone_mode=False) or os.EX_OK
        except typer.TyperException as error:
            words = error.format_message() or "name a command; --help lists them"
            raise CommandLineError(words) from error
        except typer.Abort:
            return print_errors(program, aborted, status=1)

    return run_command(act, program=program, failed=failed)
