"""Runs the notifier again and again, each time killed one step later, then once to the end.

usage: dying_notifier.py TEMPLATE DIRECTORY ARGUMENT...   (arguments of emailrelay-notify; DIR stands for the copy)

A step is a call that changes a disk. Copy number K, ``DIRECTORY/K``, is what is left when the notifier
died before its K-th step and another then did the rest. Prints the number of copies.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emailrelay.notify.cli import main

STEPS = ("mkdir", "rename", "unlink", "rmdir", "write", "fsync", "fdatasync", "chmod")


def die_before(step: int) -> None:
    left = step

    def counting(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*args, **named)

        return call

    for name in STEPS:
        setattr(os, name, counting(getattr(os, name)))


def run(arguments: list[str], step: int | None) -> bool:
    """Run the notifier in a child; tell whether it came to its end."""
    child = os.fork()
    if child == 0:
        if step is not None:
            die_before(step)
        with contextlib.redirect_stdout(None):
            os._exit(main(arguments))
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"exit status {os.WEXITSTATUS(status)} at step {step}")
    return os.WIFEXITED(status)


def sweep(template: Path, directory: Path, arguments: list[str]) -> int:
    step = 0
    ended = False
    while not ended:
        step += 1
        copy = directory / str(step)
        shutil.copytree(template, copy)
        filled = [argument.replace("DIR", str(copy)) for argument in arguments]
        ended = run(filled, step)
        run(filled, None)
    return step


if __name__ == "__main__":
    sys.stdout.write(f"{sweep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])}\n")
