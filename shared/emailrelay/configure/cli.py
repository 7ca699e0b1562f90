"""``emailrelay-config``: the command line."""

import sys
from collections.abc import Sequence

from emailrelay.configure import check_command, init_command, show_command
from emailrelay.configure.options import PROGRAM
from emailrelay.terminal.run_command import run_command
from emailrelay.terminal.verbs import ProgramOfVerbs, add_config

CONFIG = ProgramOfVerbs(
    PROGRAM,
    "Make, check and show the settings of this host.",
    {"init": init_command.INIT, "check": check_command.CHECK, "show": show_command.SHOW},
    statuses=(
        (0, "done (check: there is no problem)"),
        (1, "there are problems (init: the doctor found some)"),
        (64, "an option is wrong or missing"),
        (78, "the settings have problems, or a file cannot be written"),
    ),
    examples=("check", "show --changed"),
    options=(add_config,),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/settings.md)."""
    words = sys.argv[1:] if argv is None else list(argv)
    state = "nothing was written"
    return run_command(lambda: CONFIG.run(words), program=PROGRAM, interrupted=state)
