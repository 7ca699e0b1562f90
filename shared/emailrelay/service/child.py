"""One child process of a supervisor, from its fork to its exit."""

import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from emailrelay.errors import RelayError
from emailrelay.linux import end_with_parent
from emailrelay.service.loop import run_in_loop
from emailrelay.service.signals import READY, Signals

GRACE = 4.5
"""Seconds a child has for its drain at least; honcho kills what is left after 5."""

CRASHED = os.EX_SOFTWARE
"""Exit status of a child whose work raised an exception, which is told on standard error."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a child does. One that ``serves`` the others is ended when they have ended."""

    name: str
    work: Callable[[Signals], Awaitable[int]]
    serves: bool = False


def start(role: Role, grace: float) -> int:
    """Fork a child that does this work and exits with its status; return its process id.

    ``grace``: seconds for its drain.
    """
    # What stands in these buffers would be written by both.
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = CRASHED
    try:
        if not end_with_parent(parent):
            os._exit(0)
        status = run_in_loop(
            role.work, partial(_limit_drain, grace), lambda: os.kill(parent, READY)
        )
    except RelayError as error:
        # What no new start can mend is said once; what may pass is tried again by the next child.
        sys.stderr.write(f"{role.name}: {error}\n")
        status = CRASHED if error.temporary else os.EX_CONFIG
    except BaseException:  # noqa: BLE001 -- nothing of the child may return into the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _limit_drain(grace: float) -> None:
    # A child that outlived its parent has nobody else to end it, should its work ignore the stop: the
    # default action of SIGALRM does, a little later than the parent would have.
    signal.setitimer(signal.ITIMER_REAL, grace + 0.5)
