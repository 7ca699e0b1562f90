"""The commands ``export`` and ``import``, which move the queue from one store into another."""

import asyncio
import socket
import time
from argparse import Namespace

from emailrelay import spool_owner
from emailrelay.errors import StoreUnusable
from emailrelay.queue.errors import print_error, report
from emailrelay.queue.place import existing, place
from emailrelay.store.chooser import open_store, spool_at, store_name
from emailrelay.store.move import Mover
from emailrelay.terminal.output import counted, print_json, print_line
from emailrelay.terminal.progress import progress


def export(asked: Namespace) -> int:
    """Move all messages into another store, each once."""
    here = place(asked)
    return _move(here, existing(asked.other), as_json=asked.json)


def import_from(asked: Namespace) -> int:
    """Move all messages from another store into this one."""
    here = place(asked)
    return _move(existing(asked.other), here, as_json=asked.json)


def _move(source: str, target: str, *, as_json: bool) -> int:
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


async def _moved(source: str, target: str, origin: str) -> Mover:
    async with (
        open_store(source, report=report) as leaving,
        open_store(target, report=report) as taking,
    ):
        mover = Mover(source=leaving, target=taking, origin=origin, clock=time.time)
        total = len([listed async for listed in leaving.listing()])
        with progress("move", total) as step:
            await mover.run(step)
    return mover
