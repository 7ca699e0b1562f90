"""Reports when programs end: one epoll(7) holds all their pidfds, and the loop watches only that.

To add and remove a reader costs the loop a dozen system calls; the epoll needs two.
"""

import select
from collections.abc import Callable

from emailrelay.running_loop import running_loop


class ProgramEnds:
    """The programs of one event loop whose ends are awaited; only where there are pidfds."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._awaited: dict[int, Callable[[], None]] = {}

    def watch(self, pidfd: int, ended: Callable[[], None]) -> None:
        """Call ``ended`` once, when the process ends, unless it is forgotten before.

        Raises:
            OSError: the process has no descriptors left, or the system no memory.

        """
        if self._epoll is None:
            epoll = select.epoll()
            try:
                running_loop().add_reader(epoll.fileno(), self._look)
            except OSError:
                epoll.close()
                raise
            self._epoll = epoll
        self._epoll.register(pidfd, select.EPOLLIN)
        self._awaited[pidfd] = ended

    def forget(self, pidfd: int) -> None:
        """Watch a process no more; call this before its descriptor is closed."""
        if self._epoll is not None and self._awaited.pop(pidfd, None) is not None:
            self._epoll.unregister(pidfd)

    def _look(self) -> None:
        for pidfd, _ in self._epoll.poll(0) if self._epoll is not None else ():
            ended = self._awaited.get(pidfd)
            self.forget(pidfd)
            if ended is not None:
                ended()

    def close(self) -> None:
        """Watch nothing more."""
        if self._epoll is not None:
            running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            self._awaited.clear()
