"""``emailrelay-queue``: the command line for operators."""

from collections.abc import Sequence

from emailrelay.queue import (
    change_commands,
    move_commands,
    route_command,
    trace_command,
    verify_command,
    view_commands,
)
from emailrelay.queue.errors import PROGRAM
from emailrelay.terminal.typer_command import new_app, run

app = new_app(PROGRAM, "Show the queue, and hold, retry or delete its messages.")
app.command("list")(view_commands.list_)
app.command()(view_commands.show)
app.command()(view_commands.stats)
app.command()(trace_command.trace)
for action, command in change_commands.COMMANDS.items():
    app.command(action.value)(command)
app.command()(route_command.route)
app.command()(verify_command.verify)
app.command()(move_commands.export)
app.command("import")(move_commands.import_)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/queue.md)."""
    return run(app, argv, program=PROGRAM, aborted="nothing was deleted")
