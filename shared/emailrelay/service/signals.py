"""What signals tell a process: stop, forward now, read your files again."""

import asyncio
import signal
from collections.abc import Callable, Iterable

STOP = (signal.SIGTERM, signal.SIGINT)
FLUSH = signal.SIGUSR1
RELOAD = signal.SIGHUP
READY = signal.SIGRTMIN
"""What a worker tells its supervisor. Of real-time signals none gets lost behind another (signal(7))."""
HEARD = frozenset({*STOP, FLUSH, RELOAD})


class Signals:
    """The signals of a process, from when this is made inside its running event loop.

    A handler only notes: it sets ``stop``, or calls what was registered, later and in the loop. A
    signal for which nothing is registered does nothing; a second SIGTERM is the first one again.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._ready_acts: list[Callable[[], None]] = []
        self._stop_acts: list[Callable[[], None]] = []
        self._flush_acts: list[Callable[[], None]] = []
        self._reload_acts: list[Callable[[], object]] = []
        self._loop = asyncio.get_running_loop()
        for number in STOP:
            self._loop.add_signal_handler(number, self._stopped)
        self._loop.add_signal_handler(FLUSH, _all, self._flush_acts)
        self._loop.add_signal_handler(RELOAD, _all, self._reload_acts)
        # A supervisor forks with these blocked, so that none is lost, or fatal, before this moment.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    def ready(self) -> None:
        """Tell, once, that the work can begin: all that it needs is open."""
        acts, self._ready_acts = self._ready_acts, []
        _all(acts)

    def on_ready(self, act: Callable[[], None]) -> None:
        """Call ``act`` when the work can begin."""
        self._ready_acts.append(act)

    def on_stop(self, act: Callable[[], None]) -> None:
        """Call ``act`` once, when the process is told to stop."""
        self._stop_acts.append(act)

    def on_flush(self, act: Callable[[], None]) -> None:
        """Call ``act`` at each SIGUSR1: what waits is to be tried now."""
        self._flush_acts.append(act)

    def on_reload(self, act: Callable[[], object]) -> None:
        """Call ``act`` at each SIGHUP: files are to be read again."""
        self._reload_acts.append(act)

    def close(self) -> None:
        """Hear no more. Once told to stop, the process ignores further signals until its end."""
        for number in HEARD:
            self._loop.remove_signal_handler(number)
            if self.stop.is_set():
                # Else a second SIGTERM between here and the exit would spoil a clean drain.
                signal.signal(number, signal.SIG_IGN)

    def _stopped(self) -> None:
        if not self.stop.is_set():
            self.stop.set()
            _all(self._stop_acts)


def _all(acts: Iterable[Callable[[], object]]) -> None:
    for act in acts:
        act()
