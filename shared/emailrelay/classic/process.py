"""The process contract: in the background, and the parent returns when the daemon is ready."""

import os
import sys
from collections.abc import Callable

UMASK = 0o007
"""Mail is for its owner and its group."""


class Announcement:
    """How the start went. In the background, the waiting parent exits with it."""

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe

    def tell(self, status: int) -> None:
        """Tell the parent its exit status, once."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.write(pipe, bytes((status,)))
            os.close(pipe)


def go_background() -> Announcement:
    """Go on in a child of its own session; this process waits for what is announced, and exits so."""
    waiting, telling = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os.close(telling)
        status = os.read(waiting, 1)
        # Nothing announced: the child ended before it could.
        os._exit(status[0] if status else 1)
    os.close(waiting)
    os.setsid()
    os.chdir("/")
    redirect_to_null(0, 1)
    return Announcement(telling)


def redirect_to_null(*descriptors: int) -> None:
    """Have standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def rehearse(act: Callable[[], None]) -> str | None:
    """Run ``act`` in a child process; return what it raised, as text, or None if all went well.

    For what must be tried as another user, or needs much memory once.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            act()
        except BaseException as error:  # noqa: BLE001 -- nothing may return into the parent's code
            os.write(writing, (str(error) or repr(error)).encode()[:4096])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        text = said.read().decode(errors="replace")
    os.waitpid(child, 0)
    return text or None
