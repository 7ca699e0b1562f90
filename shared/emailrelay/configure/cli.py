"""``emailrelay-config``: the command line."""

from collections.abc import Sequence

from emailrelay.configure.check_command import check
from emailrelay.configure.init_command import init
from emailrelay.configure.options import PROGRAM
from emailrelay.configure.show_command import SHOW_CONTEXT, show
from emailrelay.terminal.typer_command import new_app, run

app = new_app(PROGRAM, "Make, check and show the settings of this host.")
app.command()(init)
app.command()(check)
app.command(context_settings=SHOW_CONTEXT)(show)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/settings.md)."""
    return run(app, argv, program=PROGRAM, aborted="nothing was written")
