"""Commands made with Typer: the options that all have, and errors turned into exit codes."""

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from emailrelay.errors import ConfigError, RelayError, StoreUnusable, reason_of
from emailrelay.standard_streams import drop_output, prepare_streams
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.screen import output_until_closed


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
    prepare_streams()
    status = os.EX_OK
    try:
        with output_until_closed():
            status = app(argv, prog_name=program, standalone_mode=False) or os.EX_OK
    except typer.TyperException as error:
        words = error.format_message() or "name a command; --help lists them"
        return print_errors(program, *filter(None, words.splitlines()), status=os.EX_USAGE)
    except typer.Abort:
        return print_errors(program, aborted, status=1)
    except StoreUnusable as error:
        return print_errors(program, str(error), status=os.EX_NOINPUT)
    except ConfigError as error:
        return print_errors(program, *error.problems, status=os.EX_CONFIG)
    except RelayError as error:
        return print_errors(program, str(error), status=failed)
    except OSError as error:
        drop_output()
        return print_errors(program, reason_of(error), status=os.EX_TEMPFAIL)
    return status
