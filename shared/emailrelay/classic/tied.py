"""Run a module as ``python -m`` does, in a process that ends with its parent.

``python -m emailrelay.classic.tied PARENT LOG MODULE ARGUMENT…``: the process gets SIGTERM when process
PARENT is gone. LOG is what ``direct_log`` says of the log file. A function between fork and exec would
do this too, but can deadlock a parent with threads.
"""

import os
import runpy
import signal
import sys

from emailrelay.classic import direct_log
from emailrelay.linux import end_with_parent

_LATER = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})

if __name__ == "__main__":
    # A service unblocks them when it has handlers; before that, each of them would end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _LATER)
    if not end_with_parent(int(sys.argv[1])):
        raise SystemExit(os.EX_TEMPFAIL)
    direct_log.use(sys.argv[2])
    del sys.argv[:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
