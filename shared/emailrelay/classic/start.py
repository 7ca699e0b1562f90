"""Preparations for the start of the services: user, sockets, log, spool, pid file."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from emailrelay import spool_owner
from emailrelay.classic import as_user, process
from emailrelay.classic import identity as identities
from emailrelay.classic.command_line import GivenOptions
from emailrelay.classic.identity import Identity
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput, log_options, path_at
from emailrelay.classic.pid_file import PidFile
from emailrelay.classic.services import Plan
from emailrelay.config import Settings
from emailrelay.errors import RelayError, StoreUnusable, reason_of
from emailrelay.events.event import report_nothing
from emailrelay.listening import CannotListen, Listeners
from emailrelay.store.chooser import open_store, spool_at

_T = TypeVar("_T")

FAILED = 1
"""Exit status: the options are wrong, or something could not be forwarded or started."""

CANNOT_BIND = 2
"""Exit status: a listening address could not be bound."""


class StartFailed(RelayError):
    """The command cannot start; ``status`` is its exit status."""

    temporary = False

    def __init__(self, problems: list[str], status: int = FAILED) -> None:
        """Take a line for each problem."""
        super().__init__("\n".join(problems))
        self.problems = problems
        self.status = status


def choose_identity(asked: GivenOptions) -> tuple[Identity | None, list[ClassicLine]]:
    """Return the user to become (None: stay) and the log lines about it; raise StartFailed."""
    if os.geteuid() != 0:
        return None, []
    name = asked.value_or_default("user")
    try:
        run_as = identities.find(name)
    except KeyError as error:
        raise StartFailed([f"--user: there is no user {name!r} on this machine"]) from error
    if run_as.user == 0:
        return None, []
    trouble = process.in_child(lambda: _try_python(run_as))
    if trouble is None:
        return run_as, []
    if asked.on("user"):
        raise StartFailed([f"--user {name}: {trouble}"])
    # A Python in root's own directory is an experiment. For a service, --user makes this an error,
    # as in the files under deploy/.
    text = f"staying root: {trouble}; with --user {name} this prevents startup"
    return None, [ClassicLine(Severity.INFO, text)]


def _try_python(run_as: Identity) -> None:
    """Raise an error unless this user can run the services."""
    identities.become(run_as)
    for path, right in ((sys.executable, os.X_OK), (os.__file__, os.R_OK), (__file__, os.R_OK)):
        if not os.access(path, right):
            raise PermissionError(f"user {run_as.name} has no access to {path}")


def user_problems(asked: GivenOptions) -> list[str]:
    """Return what is wrong with ``--user``, for a command that fails anyway."""
    try:
        choose_identity(asked)
    except StartFailed as error:
        return error.problems
    return []


def prepare(
    plan: Plan, asked: GivenOptions, settings: Settings, run_as: Identity | None
) -> tuple[Listeners, Listeners, LogOutput]:
    """Bind the addresses for mail and administrators, and open log and store.

    A start that fails reports all problems together, but a log or a spool that does not exist is
    made only if nothing before it has failed.

    Raises:
        StartFailed: with every problem; its status is that of the first.

    """
    failures = list[StartFailed]()
    bound = _tried(partial(bind, plan, asked, run_as), failures)
    log = None
    if not failures or _exists(path_at(asked.value("log-file"), time.time())):
        log = _tried(partial(open_log, asked, run_as), failures)

    def make_store() -> None:
        make_spool(settings, run_as)
        if plan.long_running or asked.on("admin"):
            check_opening(settings, run_as)

    spool = spool_at(settings.store_place)
    if not failures or spool is None or _exists(spool):
        _tried(make_store, failures)
    if bound is None or log is None or failures:
        problems = [line for failure in failures for line in failure.problems]
        raise StartFailed(list(dict.fromkeys(problems)), failures[0].status)
    return *bound, log


def _exists(path: str | Path) -> bool:
    return os.access(path, os.F_OK)  # False also if it cannot be reached


def _tried(act: Callable[[], _T], failures: list[StartFailed]) -> _T | None:
    try:
        return act()
    except StartFailed as error:
        failures.append(error)
        return None


def bind(plan: Plan, asked: GivenOptions, run_as: Identity | None) -> tuple[Listeners, Listeners]:
    """Bind the addresses for mail and administrators; raise StartFailed that names all failures."""
    smtp, admin, problems = Listeners(), Listeners(), list[str]()
    wanted = [(admin, ["127.0.0.1"], asked.value("admin"))] if asked.on("admin") else []
    if plan.receiver is not None:
        wanted.append((smtp, list(asked.values_of("interface")), asked.value_or_default("port")))
    for listeners, interfaces, port in wanted:
        try:
            _open(listeners, interfaces, int(port or 0), run_as)
        except CannotListen as error:
            problems += str(error).splitlines()
    if problems:
        raise StartFailed(problems, CANNOT_BIND)
    return smtp, admin


def _open(listeners: Listeners, interfaces: list[str], port: int, run_as: Identity | None) -> None:
    """Listen on all interfaces; a unix socket is made for the user of the services."""
    paths = [interface for interface in interfaces if interface.startswith("/")]
    others = [interface for interface in interfaces if interface not in paths]
    if others or not paths:
        listeners.open(others, port)
    problems = list[str]()
    for path in paths:
        try:
            as_user.act(path, run_as, partial(_open_socket, listeners, run_as))
        except CannotListen as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"cannot listen on {path}: {error.strerror} ({error.filename})")
    if problems:
        listeners.close()
        raise CannotListen("\n".join(problems))


def _open_socket(listeners: Listeners, run_as: Identity | None, path: str) -> None:
    opened = Listeners()
    try:
        opened.open([path], 0)
    except CannotListen as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from error
        raise
    listeners.take(opened)
    if run_as is not None and os.geteuid() == 0:
        os.chown(path, run_as.user, run_as.group, follow_symlinks=False)


def open_log(asked: GivenOptions, run_as: Identity | None) -> LogOutput:
    """Open the log, for the user who will open its file again; raise StartFailed."""
    try:
        return LogOutput(log_options(asked), run_as=run_as)
    except OSError as error:
        raise StartFailed([f"--log-file: cannot be opened: {reason_of(error)}"]) from error


def make_spool(settings: Settings, run_as: Identity | None) -> None:
    """Make a missing spool directory, for the user who will work in it; raise StartFailed."""
    place = settings.store_place
    if not isinstance(place, Path) or place.exists():
        return
    try:
        # Without ``run_as`` the services run as the owner of the spool. That is the owner of the
        # directory above it.
        with nullcontext() if run_as is not None else spool_owner.acting(place):
            as_user.act(str(place), run_as, partial(_make_directory, run_as))
    except (OSError, StoreUnusable) as error:
        raise StartFailed([f"--spool-dir: cannot be made: {reason_of(error)}"]) from error


def _make_directory(run_as: Identity | None, path: str) -> None:
    place = Path(path)
    for above in reversed(place.parents):
        if not above.exists():
            above.mkdir()
            # All users need to pass: the user to the spool, others to the other files there.
            above.chmod(0o755)
    with suppress(FileExistsError):
        place.mkdir(mode=0o770)
        if run_as is not None and os.geteuid() == 0:
            os.chown(place, run_as.user, run_as.group, follow_symlinks=False)


def check_opening(settings: Settings, run_as: Identity | None) -> None:
    """Open and close the store, as the services will; raise StartFailed if it cannot be used."""

    async def open_and_close() -> None:
        async with open_store(settings.store_place, report=report_nothing):
            pass

    def act() -> None:
        if run_as is not None:
            identities.become(run_as)
        elif (spool := spool_at(settings.store_place)) is not None:
            spool_owner.become(spool)  # as the services will
        asyncio.run(open_and_close())

    trouble = process.in_child(act)
    if trouble is not None:
        user = f" for user {run_as.name}" if run_as is not None else ""
        option = "--spool-dir" if settings.store is None else "store"
        raise StartFailed([f"{option}: cannot be used{user}: {trouble}"])


def write_pid_file(asked: GivenOptions, run_as: Identity | None) -> PidFile | None:
    """Write the pid file, if there is an option for it; raise StartFailed."""
    path = asked.value("pid-file")
    if path is None:
        return None
    try:
        pid_file = PidFile(Path(path), run_as)
        if run_as is not None:
            pid_file.leave_removal_to_child()
    except OSError as error:
        raise StartFailed([f"--pid-file: cannot be written: {reason_of(error)}"]) from error
    return pid_file
