"""The commands ``export`` and ``import``, which move the queue from one store into another."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from emailrelay import spool_owner
from emailrelay.errors import StoreUnusable
from emailrelay.queue.errors import print_error, report
from emailrelay.queue.open_store import place
from emailrelay.queue.options import StoreUrl
from emailrelay.store.chooser import open_store, spool_at, store_name
from emailrelay.store.move import Mover
from emailrelay.terminal.screen import counted, print_json, print_line
from emailrelay.terminal.typer_command import Json, SpoolDir

OtherStore = Annotated[
    str, typer.Argument(metavar="STORE", help="The other store: a directory or a URL.")
]


def export(
    *,
    other: OtherStore,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Move all messages into another store, each once."""
    return _move(place(directory, store), place(None, other), as_json=as_json)


def import_(
    *,
    other: OtherStore,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Move all messages from another store into this one."""
    return _move(place(None, other), place(directory, store), as_json=as_json)


def _move(source: str | Path, target: str | Path, *, as_json: bool) -> int:
    origin, name = (
        store_name(source, socket.gethostname()),
        store_name(target, socket.gethostname()),
    )
    if origin == name:
        raise StoreUnusable(f"{name}: both stores are the same")
    for spool in (spool_at(source), spool_at(target)):
        if spool is not None:
            spool_owner.become(spool)
    mover = asyncio.run(_moved(source, target, origin))
    for message, reason in sorted(mover.left.items()):
        print_error(f"{message}: not moved: {reason}")
    if as_json:
        print_json({"from": origin, "to": name, "moved": mover.moved, "left": len(mover.left)})
    else:
        print_line(f"{counted(mover.moved, 'message')} moved from {origin} to {name}")
    return 1 if mover.left else 0


async def _moved(source: str | Path, target: str | Path, origin: str) -> Mover:
    async with (
        open_store(source, report=report) as leaving,
        open_store(target, report=report) as taking,
    ):
        mover = Mover(source=leaving, target=taking, origin=origin, clock=time.time)
        with Progress(
            console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        ) as progress:
            total = len([listed async for listed in leaving.listing()])
            task = progress.add_task("move", total=total)
            step: Callable[[], None] = lambda: progress.advance(task)  # noqa: E731 - one call
            await mover.run(step)
    return mover
