"""A worker or dispatcher as a fork of its supervisor."""

import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from emailrelay.errors import RelayError
from emailrelay.service.child_process import bind_to_parent
from emailrelay.service.loop import run_in_loop
from emailrelay.service.restart_rule import CRASHED
from emailrelay.service.signals import READY, Signals

GRACE = 4.5
"""The least time in seconds that a child has for its drain; honcho kills everything after 5."""


@dataclass(frozen=True, slots=True)
class Role:
    """The work of a child. A child that ``serves`` the others is stopped when they have ended."""

    name: str
    work: Callable[[Signals], Awaitable[int]]
    serves: bool = False


def start(role: Role, grace: float) -> int:
    """Fork a child that does this work and exits with its status; return its process id.

    ``grace``: seconds for its drain.

    Raises:
        OSError: the system has no room for one more process.

    """
    # Otherwise both processes would write the contents of these buffers.
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = CRASHED
    try:
        if not bind_to_parent(parent):
            os._exit(0)
        status = run_in_loop(
            role.work, partial(_limit_drain, grace), lambda: os.kill(parent, READY)
        )
    except RelayError as error:
        # A permanent error ends the role. After a temporary one, the next child tries again.
        sys.stderr.write(f"{role.name}: {error}\n")
        status = CRASHED if error.temporary else os.EX_CONFIG
    except BaseException:  # noqa: BLE001 -- no exception of the child may return into the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _limit_drain(grace: float) -> None:
    # If the supervisor is gone and the work ignores the stop, no other process ends this one. The
    # default action of SIGALRM does, a little later than the supervisor would have.
    signal.setitimer(signal.ITIMER_REAL, grace + 0.5)
