"""The bond between a supervisor and a child process, forked or run as a program."""

import signal

from emailrelay.linux import end_with_parent
from emailrelay.service.signals import HEARD


def bind_to_parent(parent: int) -> bool:
    """Begin as a child: end with process ``parent``; return False if it has ended already.

    Signals wait until ``Signals`` has handlers for them. Before that, each would end the process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    return end_with_parent(parent)


def cause_of_end(status: int) -> str:
    """Describe an exit status; a negative one is the number of a signal."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
