"""``emailrelay-queue``: the operator's command line."""

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from emailrelay.errors import ConfigError, RelayError, StoreUnusable, reason_of
from emailrelay.queue import changing, checking, looking, routing
from emailrelay.queue.terminal import PROGRAM, SeenEnough, complain
from emailrelay.standard_streams import drop_output, prepare_streams

app = typer.Typer(
    name=PROGRAM,
    help="Look at the queue and change what becomes of its messages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status (docs/queue.md)."""
    prepare_streams()
    try:
        status: int = app(argv, prog_name=PROGRAM, standalone_mode=False) or os.EX_OK
        sys.stdout.flush()
    except typer.TyperException as error:
        words = error.format_message() or "say what to do, see --help"
        return [complain(line, os.EX_USAGE) for line in words.splitlines() if line][-1]
    except typer.Abort:
        return complain("nothing was done", 1)
    except StoreUnusable as error:
        return complain(str(error), os.EX_NOINPUT)
    except ConfigError as error:
        return [complain(problem, os.EX_CONFIG) for problem in error.problems][-1]
    except RelayError as error:
        return complain(str(error), os.EX_TEMPFAIL)
    except (BrokenPipeError, SeenEnough):
        drop_output()
        return os.EX_OK
    except OSError as error:
        drop_output()
        return complain(reason_of(error), os.EX_TEMPFAIL)
    return status


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
    """Look at the queue and change what becomes of its messages."""


app.callback()(_common)
app.command("list")(looking.list_)
for _command in (
    looking.show,
    looking.stats,
    changing.hold,
    changing.release,
    changing.retry,
    changing.fail,
    changing.flush,
    changing.delete,
    checking.verify,
    routing.route,
):
    app.command()(_command)
