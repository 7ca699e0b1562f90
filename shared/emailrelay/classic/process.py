"""The process contract: the daemon runs in the background; its parent exits when it is ready."""

import os
import sys
from collections.abc import Callable

UMASK = 0o007
"""Mail belongs to its owner and its group."""


class Announcement:
    """The exit status of the start. In the background, the waiting parent exits with it."""

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe

    def tell(self, status: int) -> None:
        """Send the parent its exit status, once."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.write(pipe, bytes((status,)))
            os.close(pipe)


def go_background() -> Announcement:
    """Continue in a child with its own session; the parent exits with the announced status."""
    waiting, telling = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os.close(telling)
        status = os.read(waiting, 1)
        # Without an announcement the child ended early.
        os._exit(status[0] if status else 1)
    os.close(waiting)
    os.setsid()
    os.chdir("/")
    redirect_to_null(0, 1)
    return Announcement(telling)


def redirect_to_null(*descriptors: int) -> None:
    """Connect standard streams to /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def in_child(act: Callable[[], None]) -> str | None:
    """Run ``act`` in a child process; return the text of its exception, or None.

    For tests as another user, and for work that needs much memory once.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            act()
        except BaseException as error:  # noqa: BLE001 -- no exception of the child may return into the parent's code
            os.write(writing, (str(error) or repr(error)).encode()[:4096])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode(errors="replace")
    os.waitpid(child, 0)
    return text or None
