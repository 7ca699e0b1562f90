"""A thread that works for the whole process, from its first job until it is stopped."""

import errno
import threading
from collections.abc import Callable


class WorkThread:
    """A thread that runs ``work``, which returns soon after a call of ``end``."""

    def __init__(self, name: str, work: Callable[[], None], end: Callable[[], None]) -> None:
        self._name, self._work, self._end = name, work, end
        self._thread: threading.Thread | None = None

    def start(self) -> OSError | None:
        """Start the thread, if it does not run. The next job tries again if that fails."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                return OSError(errno.EAGAIN, str(error))
            self._thread = thread
        return None

    def stop(self) -> None:
        """End the thread, if it runs, after all jobs. Blocks."""
        if self._thread is not None:
            self._end()
            self._thread.join()
            self._thread = None
