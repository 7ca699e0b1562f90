"""Run a module as ``python -m`` does, in a process that ends with its parent.

``python -m emailrelay.classic.with_parent PARENT LOG MODULE ARGUMENT…``: the process gets SIGTERM
when process PARENT ends. LOG describes the log file, see ``direct_log``. A function between fork
and exec would do this too, but it can deadlock a parent with threads.
"""

import os
import runpy
import sys

from emailrelay.classic import direct_log
from emailrelay.service.child_process import bind_to_parent

if __name__ == "__main__":
    if not bind_to_parent(int(sys.argv[1])):
        raise SystemExit(os.EX_TEMPFAIL)
    direct_log.use(sys.argv[2])
    del sys.argv[:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
