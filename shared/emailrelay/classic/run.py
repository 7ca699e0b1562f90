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
from emailrelay.classic.command_line import Asked
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput
from emailrelay.classic.pid_file import PidFile
from emailrelay.classic.process import Announcement
from emailrelay.classic.services import Plan
from emailrelay.classic.start import FAILED, StartFailed
from emailrelay.classic.supervisor import ClassicSupervisor
from emailrelay.config import Settings
from emailrelay.errors import ConfigError, RelayError
from emailrelay.events import Event
from emailrelay.listening import Listeners
from emailrelay.store.chooser import open_store

_STOP = (signal.SIGTERM, signal.SIGINT)
_HEARD = frozenset({*_STOP, signal.SIGHUP, signal.SIGUSR1})


@dataclass(slots=True, kw_only=True)
class _Ground:
    """What stands before the first service is started."""

    plan: Plan
    asked: Asked
    again: Callable[[], tuple[Plan, Asked]]
    settings: Settings
    listeners: Listeners
    admin: Listeners
    log: LogOutput
    announcement: Announcement
    remarks: list[ClassicLine]
    pid_file: PidFile | None = None


def run(plan: Plan, asked: Asked, again: Callable[[], tuple[Plan, Asked]]) -> int:
    """Do what was asked; return the exit status. In the background, the parent process ends here.

    ``again`` reads the options once more, at SIGHUP; it raises ConfigError.

    Raises:
        StartFailed: it cannot begin.

    """
    os.umask(process.UMASK)
    settings = services.store_settings(asked, os.environ)
    who, remarks = start.choose_identity(asked)
    listeners, admin = start.bind(plan, asked, who)
    log = start.open_log(asked, who)
    start.make_spool(settings, who)
    if plan.lasting or asked.on("admin"):
        start.rehearse_opening(settings, who)
    announcement = Announcement() if asked.on("no-daemon") else process.go_background()
    ground = _Ground(
        plan=plan,
        asked=asked,
        again=again,
        settings=settings,
        listeners=listeners,
        admin=admin,
        log=log,
        announcement=announcement,
        remarks=remarks,
    )
    status = FAILED
    # From here on until ``_hear`` a signal waits, so that it cannot leave the pid file behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        ground.pid_file = start.write_pid_file(asked, who)
        if who is not None:
            identity.become(who)
        status = asyncio.run(_work(ground))
    except (StartFailed, RelayError) as error:
        for problem in str(error).splitlines():
            log.write(ClassicLine(Severity.ERROR, problem))
    finally:
        if ground.pid_file is not None:
            ground.pid_file.remove()
        listeners.close()
        announcement.tell(status)
    return status


async def _work(ground: _Ground) -> int:
    try:
        return await _supervise(ground)
    finally:
        # While signals are still heard. To block them is not enough: asyncio may wait for children in
        # threads (until Python 3.12), and such a thread would take a second SIGTERM.
        if ground.pid_file is not None:
            ground.pid_file.remove()
        _hear_no_more()


async def _supervise(ground: _Ground) -> int:
    supervisor = ClassicSupervisor(ground.plan, ground.listeners.sockets, ground.log)
    _hear(supervisor, ground)
    if not ground.plan.lasting and not ground.admin.sockets:
        _started(ground)
        return FAILED if await supervisor.forward_once() else 0
    try:
        if not await supervisor.start():
            return FAILED
        async with _administration(ground, supervisor):
            _started(ground)
            if ground.plan.forward_first:
                supervisor.forward()
            await supervisor.stop.wait()
    finally:
        await supervisor.end()
    return 0


@asynccontextmanager
async def _administration(ground: _Ground, supervisor: ClassicSupervisor) -> AsyncGenerator[None]:
    """Answer administrators, if that was asked for."""
    if not ground.admin.sockets:
        yield
        return

    def report(event: Event) -> None:
        ground.log.write(log_lines.of_own(event))

    async with open_store(ground.settings.store_place, report=report) as store:
        admin = Admin(
            store=store,
            supervisor=supervisor,
            may_terminate=ground.asked.on("admin-terminate"),
            say=ground.log.write,
        )
        async with AdminServer(admin, ground.admin.sockets):
            yield


def _hear(supervisor: ClassicSupervisor, ground: _Ground) -> None:
    """Obey signals; a second one to stop is the first one again."""
    loop = asyncio.get_running_loop()
    for number in _STOP:
        loop.add_signal_handler(number, supervisor.stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, supervisor, ground)
    loop.add_signal_handler(signal.SIGUSR1, supervisor.forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)


def _hear_no_more() -> None:
    """Ignore further signals until the process ends: the end of the loop would set them free."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    loop = asyncio.get_running_loop()
    for number in _HEARD:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _reload(supervisor: ClassicSupervisor, ground: _Ground) -> None:
    """Open the log anew, read all options again, and have the services follow if they are good."""
    ground.log.reopen()
    try:
        plan, asked = ground.again()
        supervisor.follow(plan)
    except ConfigError as error:
        for problem in error.problems:
            ground.log.write(ClassicLine(Severity.ERROR, f"options stay as they are: {problem}"))
        return
    if waiting := services.only_at_start(ground.asked, asked):
        names = ", ".join(f"--{name}" for name in waiting)
        ground.log.write(
            ClassicLine(Severity.INFO, f"a change of {names} waits for the next start")
        )


def _started(ground: _Ground) -> None:
    ground.log.started()
    for remark in ground.remarks:
        ground.log.write(remark)
    if rules.waits_for_a_signal(ground.asked):
        text = "mail is forwarded when SIGUSR1 says so; --poll or --forward-on-disconnect says when"
        ground.log.write(ClassicLine(Severity.INFO, text))
    if ground.asked.on("close-stderr"):
        process.redirect_to_null(2)
    ground.announcement.tell(0)
