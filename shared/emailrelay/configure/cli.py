"""``emailrelay-config``: the command line."""

from collections.abc import Sequence

from emailrelay.configure.check_command import check
from emailrelay.configure.init_command import init
from emailrelay.configure.options import PROGRAM
from emailrelay.configure.show_command import SHOW_CONTEXT, show
from emailrelay.terminal.typer_command import add_command, new_app, run

app = new_app(
    PROGRAM,
    "Make, check and show the settings of this host.",
    statuses=(
        (0, "done (check: there is no problem)"),
        (1, "there are problems (init: the doctor found some)"),
        (64, "an option is wrong or missing"),
        (78, "the settings have problems, or a file cannot be written"),
    ),
    examples=(f"{PROGRAM} check", f"{PROGRAM} show --changed"),
)
add_command(app, init, f"{PROGRAM} init --smarthost smtp.example.net:587 --clients local")
add_command(app, check, f"{PROGRAM} check", f"{PROGRAM} check receiver --user emailrelay")
add_command(
    app,
    show,
    f"{PROGRAM} show port",
    f"{PROGRAM} show --changed",
    f"{PROGRAM} show --port 2525",
    context=SHOW_CONTEXT,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/settings.md)."""
    return run(app, argv, program=PROGRAM, aborted="nothing was written")
