"""The signals of a process: stop, forward now, read the settings again."""

import asyncio
import signal
from collections.abc import Callable, Iterable

from emailrelay.process_state import ProcessState

STOP = (signal.SIGTERM, signal.SIGINT)
FLUSH = signal.SIGUSR1
RELOAD = signal.SIGHUP
READY = signal.SIGRTMIN
"""A worker reports with it that it is ready. Real-time signals queue: none is lost (signal(7))."""
HEARD = frozenset({*STOP, FLUSH, RELOAD})
"""The signals that a process has handlers for."""


class Signals:
    """The signals of a process; make it inside the running event loop.

    The loop calls the handlers. They set ``stop`` or call the registered functions. A signal
    without such a function does nothing. A second SIGTERM does nothing either.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.state: Callable[[], ProcessState] = ProcessState
        """Returns the state of the process; the work replaces it. It must not raise, nor block."""
        self._ready_acts: list[Callable[[], None]] = []
        self._stop_acts: list[Callable[[], None]] = []
        self._flush_acts: list[Callable[[], object]] = []
        self._reload_acts: list[Callable[[], object]] = []
        self._loop = asyncio.get_running_loop()
        for number in STOP:
            self._loop.add_signal_handler(number, self._stopped)
        self._loop.add_signal_handler(FLUSH, _call_all, self._flush_acts)
        self._loop.add_signal_handler(RELOAD, _call_all, self._reload_acts)
        # They were blocked since the start of the process, so that none was lost or fatal.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    def ready(self) -> None:
        """Report, once, that the work can begin: everything that it needs is open."""
        acts, self._ready_acts = self._ready_acts, []
        _call_all(acts)

    def on_ready(self, act: Callable[[], None]) -> None:
        """Call ``act`` once, when the work can begin."""
        self._ready_acts.append(act)

    def on_stop(self, act: Callable[[], None]) -> None:
        """Call ``act`` once, when the process is told to stop."""
        self._stop_acts.append(act)

    def on_flush(self, act: Callable[[], object]) -> None:
        """Call ``act`` at each SIGUSR1: try waiting mail now."""
        self._flush_acts.append(act)

    def on_reload(self, act: Callable[[], object]) -> None:
        """Call ``act`` at each SIGHUP: read files again."""
        self._reload_acts.append(act)

    def close(self) -> None:
        """Remove the handlers. If ``stop`` is set, ignore these signals from then on."""
        if self.stop.is_set():
            # Without a handler or this, a second SIGTERM would end the process before its exit.
            signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        for number in HEARD:
            self._loop.remove_signal_handler(number)
            if self.stop.is_set():
                # Threads may have them unblocked: before 3.12, asyncio has one for each child.
                signal.signal(number, signal.SIG_IGN)

    def _stopped(self) -> None:
        if not self.stop.is_set():
            self.stop.set()
            _call_all(self._stop_acts)


def _call_all(acts: Iterable[Callable[[], object]]) -> None:
    for act in acts:
        act()
