"""A command at a terminal of a given size."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Shown(NamedTuple):
    """The text on a terminal after a command."""

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def at_terminal(
    module: str,
    arguments: Sequence[str],
    *,
    columns: int = 80,
    answer: str = "",
    environment: Mapping[str, str] | None = None,
) -> Shown:
    """Run ``python -m module`` with a terminal as its three streams; ``answer`` is typed in."""
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.write(terminal, answer.encode())
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
        env=known | {"TERM": "xterm", "LANG": "C.UTF-8"} | dict(environment or {}),
    ) as process:
        os.close(inner)
        text = b""
        while chunk := _read(terminal):
            text += chunk
    os.close(terminal)
    return Shown(process.returncode, text.decode(errors="backslashreplace").replace("\r\n", "\n"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the last process has closed its side
        return b""
