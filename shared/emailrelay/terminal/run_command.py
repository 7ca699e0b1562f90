"""Runs a command: errors become lines on standard error and exit statuses (sysexits.h)."""

import os
from collections.abc import Callable

from emailrelay.errors import ConfigError, RelayError, StoreUnusable, reason_of
from emailrelay.standard_streams import drop_output, prepare_streams
from emailrelay.terminal.ask import NoAnswer
from emailrelay.terminal.error_lines import print_errors, print_interrupted
from emailrelay.terminal.output import output_until_closed


class CommandLineError(RelayError):
    """The command line is wrong; the text says what to change."""

    temporary = False


def run_command(
    act: Callable[[], int],
    *,
    program: str,
    failed: int = os.EX_TEMPFAIL,
    interrupted: str = "changes made before stay",
) -> int:
    """Call ``act`` and return its exit status, or that of its error.

    ``failed`` is the status of a ``RelayError`` that has no other; ``interrupted`` says in what
    state Ctrl-C leaves things.
    """
    prepare_streams()
    status = os.EX_OK
    try:
        with output_until_closed():
            status = _status(act)
    except CommandLineError as error:
        return print_errors(program, *str(error).splitlines(), status=os.EX_USAGE)
    except StoreUnusable as error:
        return print_errors(program, str(error), status=os.EX_NOINPUT)
    except ConfigError as error:
        return print_errors(program, *error.problems, status=os.EX_CONFIG)
    except NoAnswer as error:
        return print_errors(program, str(error), status=1)
    except RelayError as error:
        return print_errors(program, str(error), status=failed)
    except KeyboardInterrupt:
        return print_interrupted(program, interrupted)
    except OSError as error:
        drop_output()
        return print_errors(program, reason_of(error), status=os.EX_TEMPFAIL)
    return status


def _status(act: Callable[[], int]) -> int:
    try:
        return act()
    except SystemExit as ended:  # argparse has printed the help, for one
        return ended.code if isinstance(ended.code, int) else os.EX_OK
