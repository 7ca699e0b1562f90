"""Running a module as ``python -m`` does, in a process that ends with its parent.

``python -m emailrelay.classic.tied PARENT LOG MODULE ARGUMENT…``: LOG is what ``direct_log`` says of the
log file. When process PARENT is gone, however it
went, the kernel sends SIGTERM. (A function between fork and exec would do as well, but may dead-lock
when the parent has threads.)
"""

import ctypes
import os
import runpy
import signal
import sys

from emailrelay.classic import direct_log

_PR_SET_PDEATHSIG = 1  # prctl(2)


def tie(parent: int) -> None:
    """Have this process end with ``parent``; end it now if that is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(os.EX_TEMPFAIL)


_LATER = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})

if __name__ == "__main__":
    # A service unblocks them when it has handlers; before that, each of them would end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _LATER)
    tie(int(sys.argv[1]))
    direct_log.use(sys.argv[2])
    del sys.argv[:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
