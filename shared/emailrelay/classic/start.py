"""What must stand before the first service is started: user, sockets, log, spool, pid file."""

import asyncio
import os
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

from emailrelay import spool_owner
from emailrelay.classic import as_user, process
from emailrelay.classic import identity as identities
from emailrelay.classic.command_line import Asked
from emailrelay.classic.identity import Identity
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput, log_options
from emailrelay.classic.pid_file import PidFile
from emailrelay.classic.services import Plan
from emailrelay.config import Settings
from emailrelay.errors import RelayError, StoreUnusable, reason_of
from emailrelay.events import Event
from emailrelay.listening import CannotListen, Listeners
from emailrelay.store.chooser import open_store, spool_at

FAILED = 1
"""Exit status: bad options, or something could not be forwarded or started."""

CANNOT_BIND = 2
"""Exit status: a listening address could not be bound."""


class StartFailed(RelayError):
    """The command cannot begin; ``status`` is its exit status."""

    temporary = False

    def __init__(self, problems: list[str], status: int = FAILED) -> None:
        """Take a line for each problem."""
        super().__init__("\n".join(problems))
        self.problems = problems
        self.status = status


def choose_identity(asked: Asked) -> tuple[Identity | None, list[ClassicLine]]:
    """Give the user to become (None: stay), and what is to be said about it; raise StartFailed."""
    if os.geteuid() != 0:
        return None, []
    name = asked.value("user") or "daemon"
    try:
        who = identities.find(name)
    except KeyError as error:
        raise StartFailed([f"--user: there is no user {name!r} on this machine"]) from error
    if who.user == 0:
        return None, []
    trouble = process.rehearse(lambda: _try_python(who))
    if trouble is None:
        return who, []
    if asked.on("user"):
        raise StartFailed([f"--user {name}: {trouble}"])
    # A Python in root's own directory is somebody trying things out. Who needs the drop says --user,
    # as the files under deploy/ do.
    text = f"staying root: {trouble}; with --user {name} this stops the start"
    return None, [ClassicLine(Severity.INFO, text)]


def _try_python(who: Identity) -> None:
    """Raise an error unless this user can run the services."""
    identities.become(who)
    for path, right in ((sys.executable, os.X_OK), (os.__file__, os.R_OK), (__file__, os.R_OK)):
        if not os.access(path, right):
            raise PermissionError(f"user {who.name} has no access to {path}")


def bind(plan: Plan, asked: Asked, who: Identity | None) -> tuple[Listeners, Listeners]:
    """Bind the addresses for mail and for administrators; raise StartFailed naming all that fail."""
    smtp, admin, problems = Listeners(), Listeners(), list[str]()
    wanted = [(admin, ["127.0.0.1"], asked.value("admin"))] if asked.on("admin") else []
    if plan.receiver is not None:
        wanted.append((smtp, list(asked.values_of("interface")), asked.value("port") or "25"))
    for listeners, interfaces, port in wanted:
        try:
            _open(listeners, interfaces, int(port or 0), who)
        except CannotListen as error:
            problems += str(error).splitlines()
    if problems:
        raise StartFailed(problems, CANNOT_BIND)
    return smtp, admin


def _open(listeners: Listeners, interfaces: list[str], port: int, who: Identity | None) -> None:
    """Listen on all of them; the path of a unix socket is made for the user who will be at work."""
    paths = [interface for interface in interfaces if interface.startswith("/")]
    others = [interface for interface in interfaces if interface not in paths]
    if others or not paths:
        listeners.open(others, port)
    problems = list[str]()
    for path in paths:
        try:
            as_user.act(path, who, partial(_open_socket, listeners, who))
        except CannotListen as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"cannot listen on {path}: {error.strerror} ({error.filename})")
    if problems:
        listeners.close()
        raise CannotListen("\n".join(problems))


def _open_socket(listeners: Listeners, who: Identity | None, path: str) -> None:
    opened = Listeners()
    try:
        opened.open([path], 0)
    except CannotListen as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from error
        raise
    listeners.take(opened)
    if who is not None and os.geteuid() == 0:
        os.chown(path, who.user, who.group, follow_symlinks=False)


def open_log(asked: Asked, who: Identity | None) -> LogOutput:
    """Open the log, for the user who will have to open its file again; raise StartFailed."""
    try:
        return LogOutput(log_options(asked), who=who)
    except OSError as error:
        raise StartFailed([f"--log-file: cannot be opened: {reason_of(error)}"]) from error


def make_spool(settings: Settings, who: Identity | None) -> None:
    """Make a missing spool directory, for the user who will work in it; raise StartFailed."""
    place = settings.store_place
    if not isinstance(place, Path) or place.exists():
        return
    try:
        # Without ``who`` the services become the owner of the spool, who is that of what it is made in.
        with nullcontext() if who is not None else spool_owner.acting(place):
            as_user.act(str(place), who, partial(_make_directory, who))
    except (OSError, StoreUnusable) as error:
        raise StartFailed([f"--spool-dir: cannot be made: {reason_of(error)}"]) from error


def _make_directory(who: Identity | None, path: str) -> None:
    place = Path(path)
    for above in reversed(place.parents):
        if not above.exists():
            above.mkdir()
            # Everybody passes through them: the user to the spool, others to what else is there.
            above.chmod(0o755)
    with suppress(FileExistsError):
        place.mkdir(mode=0o770)
        if who is not None and os.geteuid() == 0:
            os.chown(place, who.user, who.group, follow_symlinks=False)


def rehearse_opening(settings: Settings, who: Identity | None) -> None:
    """Open and close the store, as the services will; raise StartFailed when it cannot be used."""

    async def open_and_close() -> None:
        async with open_store(settings.store_place, report=_unheard):
            pass

    def act() -> None:
        if who is not None:
            identities.become(who)
        elif (spool := spool_at(settings.store_place)) is not None:
            spool_owner.become(spool)  # as the services will
        asyncio.run(open_and_close())

    trouble = process.rehearse(act)
    if trouble is not None:
        user = f" for user {who.name}" if who is not None else ""
        raise StartFailed([f"--spool-dir: cannot be used{user}: {trouble}"])


def _unheard(_event: Event) -> None:
    """Report nothing: the services will open the store again, and tell."""


def write_pid_file(asked: Asked, who: Identity | None) -> PidFile | None:
    """Write the pid file, if one was asked for; raise StartFailed."""
    path = asked.value("pid-file")
    if path is None:
        return None
    try:
        pid_file = PidFile(Path(path), who)
        if who is not None:
            pid_file.keep_for_another()
    except OSError as error:
        raise StartFailed([f"--pid-file: cannot be written: {reason_of(error)}"]) from error
    return pid_file
