"""The events of the services."""

from typing import ClassVar

from emailrelay.events.event import Event, Level


class Started(Event):
    """A service is ready."""

    service: str
    version: str
    workers: int = 1


class Listening(Event):
    """Clients can connect to ``address``."""

    service: str
    address: str


class Stopping(Event):
    """A service was told to stop and finishes its current work."""

    service: str


class Stopped(Event):
    """A service has ended; the next process redoes the ``unfinished`` pieces of its work."""

    service: str
    unfinished: int = 0


class Reloaded(Event):
    """The settings were read again. ``changed`` names those that new work uses from now on.

    ``needs_restart`` names the changed settings that take effect at the next start only.
    """

    service: str
    changed: str
    needs_restart: str


class ReloadRefused(Event):
    """The settings were read again and have errors: all previous settings stay in force."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    problems: str


class WorkerDied(Event):
    """A worker process ended unexpectedly; another replaces it."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    pid: int
    reason: str


class Traceback(Event):
    """The traceback of an internal error."""

    level: ClassVar[Level] = Level.DEBUG
    text: str


class Unresponsive(Event):
    """A process of the service has done nothing for so many ``seconds``; its work waits."""

    level: ClassVar[Level] = Level.ERROR
    service: str
    pid: int
    seconds: float


class MonitorTrouble(Event):
    """Counters, or the state for the monitor, cannot be kept; mail goes on."""

    level: ClassVar[Level] = Level.WARNING
    reason: str


class InternalError(Event):
    """A bug in this program stopped one piece of work, which waits; all other work goes on."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str
