"""From good options to the end of the work: sockets, identity, background, services."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from emailrelay.classic import identity, process, services
from emailrelay.classic.command_line import Asked
from emailrelay.classic.identity import Identity
from emailrelay.classic.log_lines import Line, Severity
from emailrelay.classic.log_output import LogOutput, log_options
from emailrelay.classic.pid_file import PidFile
from emailrelay.classic.process import Announcement
from emailrelay.classic.services import Plan
from emailrelay.classic.supervisor import Supervisor
from emailrelay.config import Settings
from emailrelay.events import Event
from emailrelay.listening import CannotListen, Listeners
from emailrelay.store.chooser import open_store

_STOP = (signal.SIGTERM, signal.SIGINT)
_FAILED = 1
_CANNOT_BIND = 2


class NotStarted(Exception):
    """The command cannot begin; ``status`` is its exit status."""

    def __init__(self, problems: list[str], status: int = _FAILED) -> None:
        """Take a line for each problem."""
        super().__init__("\n".join(problems))
        self.problems = problems
        self.status = status


@dataclass(slots=True, kw_only=True)
class _Ground:
    """What stands before the first service is started."""

    plan: Plan
    asked: Asked
    settings: Settings
    listeners: Listeners
    admin: Listeners
    log: LogOutput
    announcement: Announcement
    remarks: list[Line]
    pid_file: PidFile | None = None


def run(plan: Plan, asked: Asked) -> int:
    """Do what was asked; return the exit status. In the background, the parent process ends here.

    Raises:
        NotStarted: it cannot begin.

    """
    os.umask(process.UMASK)
    settings = services.store_settings(asked, os.environ)
    who, remarks = _identity(asked)
    listeners, admin = _bind(plan, asked)
    log = _open_log(asked, who)
    _make_spool(settings, who)
    if plan.lasting:
        _rehearse_opening(settings, who)
    announcement = Announcement() if asked.on("no-daemon") else process.go_background()
    ground = _Ground(
        plan=plan,
        asked=asked,
        settings=settings,
        listeners=listeners,
        admin=admin,
        log=log,
        announcement=announcement,
        remarks=remarks,
    )
    status = _FAILED
    try:
        ground.pid_file = _write_pid_file(asked, who)
        if who is not None:
            identity.become(who)
        status = asyncio.run(_work(ground))
    except NotStarted as error:
        for problem in error.problems:
            log.write(Line(Severity.ERROR, problem))
    finally:
        _ignore_signals()
        if ground.pid_file is not None:
            ground.pid_file.remove()
        announcement.tell(status)
    return status


async def _work(ground: _Ground) -> int:
    supervisor = Supervisor(ground.plan, ground.listeners.sockets, ground.log.write)
    _hear(supervisor, ground.log)
    if not ground.plan.lasting and not ground.admin.sockets:
        _started(ground)
        return _FAILED if await supervisor.forward_once() else 0
    try:
        if not await supervisor.start():
            return _FAILED
        _started(ground)
        first = ground.plan.forward_first
        forwarding = asyncio.create_task(supervisor.forward_once()) if first else None
        await supervisor.stop.wait()
        if forwarding is not None:
            await forwarding
    finally:
        await supervisor.end()
    return 0


def _hear(supervisor: Supervisor, log: LogOutput) -> None:
    """Obey signals; a second one to stop is the first one again."""
    loop = asyncio.get_running_loop()

    def reload() -> None:
        log.reopen()
        supervisor.pass_on(signal.SIGHUP)

    for number in _STOP:
        loop.add_signal_handler(number, supervisor.stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_signal_handler(signal.SIGUSR1, supervisor.forward)


def _ignore_signals() -> None:
    # Else a second SIGTERM between here and the exit would leave the pid file behind.
    for number in (*_STOP, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _started(ground: _Ground) -> None:
    ground.log.started()
    for remark in ground.remarks:
        ground.log.write(remark)
    if ground.asked.on("close-stderr"):
        process.redirect_to_null(2)
    ground.announcement.tell(0)


def _identity(asked: Asked) -> tuple[Identity | None, list[Line]]:
    """Give the user to become (None: stay), and what is to be said about it."""
    if os.geteuid() != 0:
        return None, []
    name = asked.value("user") or "daemon"
    try:
        who = identity.find(name)
    except KeyError as error:
        raise NotStarted([f"--user: there is no user {name!r} on this machine"]) from error
    if who.user == 0:
        return None, []
    trouble = process.rehearse(lambda: _try_python(who))
    if trouble is None:
        return who, []
    if asked.on("user"):
        raise NotStarted([f"--user {name}: {trouble}"])
    # A Python in root's own directory is somebody trying things out. Who needs the drop says --user,
    # as the files under deploy/ do.
    text = f"staying root: {trouble}; with --user {name} this stops the start"
    return None, [Line(Severity.INFO, text)]


def _try_python(who: Identity) -> None:
    """Raise an error unless this user can run the services."""
    identity.become(who)
    for path, right in ((sys.executable, os.X_OK), (os.__file__, os.R_OK), (__file__, os.R_OK)):
        if not os.access(path, right):
            raise PermissionError(f"user {who.name} has no access to {path}")


def _bind(plan: Plan, asked: Asked) -> tuple[Listeners, Listeners]:
    smtp, admin, problems = Listeners(), Listeners(), list[str]()
    wanted = [(admin, ["127.0.0.1"], asked.value("admin"))] if asked.on("admin") else []
    if plan.receiver is not None:
        wanted.append((smtp, list(asked.values_of("interface")), asked.value("port") or "25"))
    for listeners, interfaces, port in wanted:
        try:
            listeners.open(interfaces, int(port or 0))
        except CannotListen as error:
            problems += str(error).splitlines()
    if problems:
        raise NotStarted(problems, _CANNOT_BIND)
    return smtp, admin


def _open_log(asked: Asked, who: Identity | None) -> LogOutput:
    try:
        log = LogOutput(log_options(asked))
        if who is not None:
            log.owned_by(who.user, who.group)
    except OSError as error:
        raise NotStarted([f"--log-file: cannot be opened: {error}"]) from error
    return log


def _make_spool(settings: Settings, who: Identity | None) -> None:
    """Make a missing spool directory, for the user who will work in it."""
    place = settings.store_place
    if not isinstance(place, Path) or place.exists():
        return
    try:
        place.mkdir(mode=0o770, parents=True)
        if who is not None:
            os.chown(place, who.user, who.group)
    except OSError as error:
        raise NotStarted([f"--spool-dir: cannot be made: {error}"]) from error


def _rehearse_opening(settings: Settings, who: Identity | None) -> None:
    """Open and close the store, as the services will."""

    async def open_and_close() -> None:
        async with open_store(settings.store_place, report=_unheard):
            pass

    def act() -> None:
        if who is not None:
            identity.become(who)
        asyncio.run(open_and_close())

    trouble = process.rehearse(act)
    if trouble is not None:
        user = f" for user {who.name}" if who is not None else ""
        raise NotStarted([f"--spool-dir: cannot be used{user}: {trouble}"])


def _unheard(_event: Event) -> None:
    """Report nothing: the services will open the store again, and tell."""


def _write_pid_file(asked: Asked, who: Identity | None) -> PidFile | None:
    path = asked.value("pid-file")
    if path is None:
        return None
    try:
        pid_file = PidFile(Path(path))
        if who is not None:
            pid_file.keep_for_another()
    except OSError as error:
        raise NotStarted([f"--pid-file: cannot be written: {error}"]) from error
    return pid_file
