"""Runs a command again and again, each time killed one step later, then lets others do the rest.

usage: dying_command.py notify|submit|bounce TEMPLATE DIRECTORY ARGUMENT...
    (DIR stands for the copy)

A step is a call that changes a disk. For copy number K, ``DIRECTORY/K``, the command died before
its K-th step, and then another program used the spool. The last copy is that of a command that was
not killed. Prints the number of copies.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from emailrelay.aliases import Aliases
from emailrelay.bounces.duty import BounceDuty
from emailrelay.bounces.telling import BounceRules
from emailrelay.events.event import Event
from emailrelay.notify import cli as notify
from emailrelay.store.chooser import open_store
from emailrelay.submit import cli as submit

STEPS = ("mkdir", "rename", "unlink", "rmdir", "write", "fsync", "fdatasync", "fchmod", "open")
MESSAGE = b"Subject: one\n\nbody\n"

Main: TypeAlias = Callable[[list[str]], int]


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


def run(main: Main, arguments: list[str], step: int | None) -> bool:
    """Run a command in a child; return whether it ran to its end."""
    child = os.fork()
    if child == 0:
        read, write = os.pipe()
        os.write(write, MESSAGE)
        os.close(write)
        os.dup2(read, 0)
        if step is not None:
            die_before(step)
        with contextlib.redirect_stdout(None):
            os._exit(main(arguments))
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"exit status {os.WEXITSTATUS(status)} at step {step}")
    return os.WIFEXITED(status)


def nothing(_event: Event) -> None:
    """Take reports."""


def open_and_close(arguments: list[str]) -> int:
    """Do the first steps of every user of a spool."""

    async def opened() -> None:
        async with open_store(Path(arguments[-1]), report=nothing):
            pass

    asyncio.run(opened())
    return 0


def bounce(arguments: list[str]) -> int:
    """Tell the senders of failed mail as a forwarder does, two hours later."""
    rules = BounceRules(
        tells=True, host="relay.test", postmaster=(), aliases=Aliases(), per_hour=10, keep=None
    )

    async def told() -> None:
        async with open_store(Path(arguments[-1]), report=nothing) as store:
            await BounceDuty(store, rules, report=nothing, clock=_two_hours_later).once()

    asyncio.run(told())
    return 0


def _two_hours_later() -> float:
    return time.time() + 7200


COMMANDS: dict[str, tuple[Main, Main]] = {
    "notify": (notify.main, notify.main),
    "bounce": (bounce, bounce),
    "submit": (submit.main, open_and_close),
}


def sweep(command: str, template: Path, directory: Path, arguments: list[str]) -> int:
    main, rest = COMMANDS[command]
    step = 0
    ended = False
    while not ended:
        step += 1
        copy = directory / str(step)
        shutil.copytree(template, copy)
        filled = [argument.replace("DIR", str(copy)) for argument in arguments]
        ended = run(main, filled, step)
        run(rest, filled, None)
    return step


if __name__ == "__main__":
    sys.stdout.write(f"{sweep(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])}\n")
