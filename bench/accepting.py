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

# The interpreter itself: a virtual environment would add the search of its packages to each start.
_PYTHON = Path(sys.base_prefix, "bin/python3")
_LANGUAGES = {
    "sh": ("#!/bin/sh", "", "while read -r path; do echo ok; done"),
    "python": (
        f"#!{_PYTHON}",
        "",
        'import sys\nfor line in sys.stdin:\n    print("ok", flush=True)',
    ),
    "perl": ("#!/usr/bin/perl", "", '$| = 1;\nprint "ok\\n" while <STDIN>;'),
}
"""By language: the first line, a program for one message, and one that answers each message."""

LANGUAGES = tuple(_LANGUAGES)


@contextlib.contextmanager
def spec_of(word: str, directory: Path) -> Generator[str]:
    """Give the spec of a filter, which works in the block.

    ``net:`` is a server of this module, a language is a program that is started for each message,
    ``pipe:LANGUAGE`` one that stays running. Any other word is a spec itself.
    """
    kind, _, language = word.rpartition(":")
    if word == "net:":
        with _server() as port:
            yield f"net:127.0.0.1:{port}"
    elif language in _LANGUAGES and kind in {"", "pipe"}:
        first, once, loop = _LANGUAGES[language]
        program = directory / "filter"
        program.write_text(f"{first}\n{loop if kind else once}\n")
        program.chmod(0o755)
        yield f"pipe:{program}" if kind else str(program)
    else:
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
