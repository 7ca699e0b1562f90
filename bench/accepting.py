"""Filters that accept everything, as cheaply as Python can: the relay is measured, not they."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from bench.sinks import free_port

# In Python: a shell reads its input octet by octet, a system call for each.
_LOOP = f"""#!{sys.executable}
import sys
for line in sys.stdin:
    print("ok", flush=True)
"""


@contextlib.contextmanager
def spec_of(word: str, directory: Path) -> Generator[str]:
    """Give the spec of a filter, which works in the block.

    ``net:`` is a server and ``pipe:`` a program of this module; any other word is a spec itself.
    """
    match word:
        case "net:":
            with _server() as port:
                yield f"net:127.0.0.1:{port}"
        case "pipe:":
            program = directory / "loop"
            program.write_text(_LOOP)
            program.chmod(0o755)
            yield f"pipe:{program}"
        case _:
            yield word


@contextlib.contextmanager
def _server() -> Generator[int]:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "bench.net_filter", str(port)])
    try:
        while server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)  # it prints nothing when it listens
        yield port
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
