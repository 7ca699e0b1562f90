"""From good options to the end of the work."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from emailrelay.classic import identity, log_lines, process, rules, services, start
from emailrelay.classic.admin import Admin
from emailrelay.classic.admin_server import AdminServer
from emailrelay.classic.command_line import GivenOptions
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput
from emailrelay.classic.pid_file import PidFile
from emailrelay.classic.process import Announcement
from emailrelay.classic.services import Plan
from emailrelay.classic.start import FAILED, StartFailed
from emailrelay.classic.supervisor import ClassicSupervisor
from emailrelay.config import Settings
from emailrelay.errors import ConfigError, RelayError
from emailrelay.events.event import Event
from emailrelay.listening import Listeners
from emailrelay.service.signals import HEARD, Signals
from emailrelay.store.chooser import open_store


@dataclass(slots=True, kw_only=True)
class _Prepared:
    """Everything that the start of the services needs."""

    plan: Plan
    asked: GivenOptions
    reread: Callable[[], tuple[Plan, GivenOptions]]
    settings: Settings
    listeners: Listeners
    admin: Listeners
    log: LogOutput
    announcement: Announcement
    remarks: list[ClassicLine]
    pid_file: PidFile | None = None


def run(plan: Plan, asked: GivenOptions, reread: Callable[[], tuple[Plan, GivenOptions]]) -> int:
    """Run the plan; return the exit status. In the background, the parent process ends here.

    ``reread`` reads the options again, at SIGHUP; it raises ConfigError.

    Raises:
        StartFailed: it cannot begin.

    """
    os.umask(process.UMASK)
    settings = services.store_settings(asked, os.environ)
    run_as, remarks = start.choose_identity(asked)
    listeners, admin, log = start.prepare(plan, asked, settings, run_as)
    announcement = Announcement() if asked.on("no-daemon") else process.go_background()
    prepared = _Prepared(
        plan=plan,
        asked=asked,
        reread=reread,
        settings=settings,
        listeners=listeners,
        admin=admin,
        log=log,
        announcement=announcement,
        remarks=remarks,
    )
    status = FAILED
    # From here on, signals wait until there are handlers: otherwise one could end this process, and
    # the pid file would stay.
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        prepared.pid_file = start.write_pid_file(asked, run_as)
        if run_as is not None:
            identity.become(run_as)
        status = asyncio.run(_work(prepared))
    except (StartFailed, RelayError) as error:
        for problem in str(error).splitlines():
            log.write(ClassicLine(Severity.ERROR, problem))
    finally:
        if prepared.pid_file is not None:
            prepared.pid_file.remove()
        listeners.close()
        announcement.tell(status)
    return status


async def _work(prepared: _Prepared) -> int:
    signals = Signals()
    try:
        return await _supervise(prepared, signals)
    finally:
        # While there are handlers, so that no signal can leave the pid file behind.
        if prepared.pid_file is not None:
            prepared.pid_file.remove()
        # The rest is short and has to reach the exit status.
        signals.stop.set()
        signals.close()


async def _supervise(prepared: _Prepared, signals: Signals) -> int:
    supervisor = ClassicSupervisor(
        prepared.plan, prepared.listeners.sockets, prepared.log, signals.stop
    )
    signals.on_flush(supervisor.forward)
    signals.on_reload(lambda: _reload(supervisor, prepared))
    if not prepared.plan.long_running and not prepared.admin.sockets:
        _started(prepared)
        return FAILED if await supervisor.forward_once() else 0
    try:
        if not await supervisor.start():
            return FAILED
        async with _administration(prepared, supervisor):
            _started(prepared)
            if prepared.plan.forward_first:
                supervisor.forward()
            await supervisor.stop.wait()
    finally:
        await supervisor.end()
    return 0


@asynccontextmanager
async def _administration(
    prepared: _Prepared, supervisor: ClassicSupervisor
) -> AsyncGenerator[None]:
    """Answer administrators, if the options ask for it."""
    if not prepared.admin.sockets:
        yield
        return

    def report(event: Event) -> None:
        prepared.log.write(log_lines.of_own(event))

    async with open_store(prepared.settings.store_place, report=report) as store:
        admin = Admin(
            store=store,
            supervisor=supervisor,
            may_terminate=prepared.asked.on("admin-terminate"),
            write=prepared.log.write,
        )
        async with AdminServer(admin, prepared.admin.sockets):
            yield


def _reload(supervisor: ClassicSupervisor, prepared: _Prepared) -> None:
    """Reopen the log and read all options again; if they are good, the services follow."""
    prepared.log.reopen()
    try:
        plan, asked = prepared.reread()
        supervisor.follow(plan)
    except ConfigError as error:
        for problem in error.problems:
            prepared.log.write(ClassicLine(Severity.ERROR, f"options stay as they are: {problem}"))
        return
    if waiting := services.only_at_start(prepared.asked, asked):
        names = ", ".join(f"--{name}" for name in waiting)
        prepared.log.write(
            ClassicLine(Severity.INFO, f"a change of {names} waits for the next start")
        )


def _started(prepared: _Prepared) -> None:
    prepared.log.started()
    for remark in prepared.remarks:
        prepared.log.write(remark)
    if rules.waits_for_a_signal(prepared.asked):
        text = (
            "mail is forwarded at SIGUSR1 only; "
            "use --poll or --forward-on-disconnect to forward it earlier"
        )
        prepared.log.write(ClassicLine(Severity.INFO, text))
    if prepared.asked.on("close-stderr"):
        process.redirect_to_null(2)
    prepared.announcement.tell(0)
