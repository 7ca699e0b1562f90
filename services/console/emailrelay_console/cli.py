"""``emailrelay-console``: settings, then the work."""

import os
import sys
from collections.abc import Sequence

from emailrelay import service
from emailrelay.config import ConsoleSettings, flags, load
from emailrelay.events.event import Report
from emailrelay.listening import Listeners, written
from emailrelay.process_state import ProcessState
from emailrelay.service import LiveSettings, Signals
from emailrelay.settings_file import VARIABLE
from emailrelay.standard_streams import prepare_streams
from emailrelay.terminal.error_lines import print_errors
from emailrelay_console.check import cautions, check, startable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console until it is told to stop; return its exit status (sysexits.h)."""
    prepare_streams()
    settings = load(ConsoleSettings, argv, check=check)
    words = sys.argv[1:] if argv is None else argv
    if (config := flags.parse(ConsoleSettings, words).config) is not None:
        # The pages about routes and accounts, and the doctor, read the same file.
        os.environ[VARIABLE] = config
    if problems := [finding.text for finding in startable(settings)]:
        return print_errors(settings.program, *problems, status=os.EX_CONFIG)
    print_errors(settings.program, *(f"warning: {each.text}" for each in cautions(settings)))
    report = service.reporter(settings)
    return service.run_listening(
        settings,
        settings.console_interface,
        settings.console_port,
        lambda listeners, signals: _serve(settings, listeners, signals, report),
        report=report,
        live=LiveSettings(settings, argv, report=report),
        store=settings.store_place,
    )


async def _serve(
    settings: ConsoleSettings, listeners: Listeners, signals: Signals, report: Report
) -> int:
    from emailrelay_console.app import serve_console  # noqa: PLC0415 -- needs the extra

    places = ", ".join(map(written, listeners.sockets))
    signals.state = lambda: ProcessState(doing=f"answering on {places}")
    await serve_console(settings, listeners.sockets, signals, report)
    return os.EX_OK
