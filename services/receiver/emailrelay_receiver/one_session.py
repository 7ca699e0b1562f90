"""One SMTP session on the connection that is standard input: for inetd and ``-bs``."""

import os
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial

from emailrelay import spool_owner
from emailrelay.ack import Ack
from emailrelay.address_mask import masking
from emailrelay.config import LogFormat, ReceiverSettings, load
from emailrelay.errors import RelayError
from emailrelay.events.event import Level, Report
from emailrelay.logs import line_reporter, renderer
from emailrelay.service import Signals
from emailrelay.service.loop import run_in_loop
from emailrelay.store.chooser import only_submits, open_store, spool_at
from emailrelay.terminal.error_lines import print_errors
from emailrelay_receiver.context import make_context
from emailrelay_receiver.receiver import Receiver


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one client to the end of its session; return the exit status (sysexits.h)."""
    settings = load(ReceiverSettings, argv)
    # Standard output may be the connection as well.
    report = line_reporter(
        service=settings.service,
        render=renderer(LogFormat.LOGFMT),
        timed=True,
        least=Level.WARNING,
        descriptor=2,
        masking=masking(settings.log_mail_addresses),
    )
    try:
        connection = socket.socket(fileno=os.dup(0))
    except OSError:
        wrong = "standard input is not a connection"
        return print_errors(settings.program, wrong, status=os.EX_USAGE)
    if connection.family is socket.AF_UNIX:
        settings = _of_local_program(settings)
    spool = spool_at(settings.store_fallback or settings.store_place)
    try:
        if spool is not None:
            spool_owner.become(spool)
        serve = partial(_serve, settings, report, connection)
        return run_in_loop(serve, on_stop=lambda: None, on_ready=lambda: None)
    except RelayError as error:
        status = os.EX_TEMPFAIL if error.temporary else os.EX_CONFIG
        return print_errors(settings.program, *str(error).splitlines(), status=status)


def _of_local_program(settings: ReceiverSettings) -> ReceiverSettings:
    """Return the settings for a local program, which runs as a user with access to the store.

    It needs neither encryption nor a login, and this user may be unable to read the files for them.
    """
    return settings.model_copy(
        update={
            "server_tls": False,
            "server_tls_connection": False,
            "server_tls_required": False,
            "server_tls_certificate": [],
            "server_tls_verify": None,
            "server_auth": None,
        }
    )


async def _serve(
    settings: ReceiverSettings, report: Report, connection: socket.socket, signals: Signals
) -> int:
    submitting = only_submits(spool_at(settings.store_fallback or settings.store_place))
    if submitting:  # this user cannot receive the services' answers
        settings = settings.model_copy(update={"ack": Ack.STORED})
    async with open_store(
        settings.store_place,
        report=report,
        fallback=settings.store_fallback,
        submitting=submitting,
    ) as store:
        context = make_context(settings, store, report=report, clock=time.time)
        # The settings of the service decide about filters: it has noted the entrance in the store.
        context.stage = await store.entrance()
        receiver = Receiver(context, ())
        async with receiver:
            await receiver.attend(connection, signals.stop)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
