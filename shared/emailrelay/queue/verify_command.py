"""The command ``verify``, which looks for damage."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from emailrelay import spool_owner
from emailrelay.errors import StoreError, reason_of
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import place, with_store
from emailrelay.queue.options import StoreUrl
from emailrelay.store.base import Store
from emailrelay.store.chooser import spool_at
from emailrelay.store.verification import DamageFinding
from emailrelay.terminal.screen import counted, print_json, print_line
from emailrelay.terminal.typer_command import Json, SpoolDir


def verify(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair each problem, or set the files aside.")
    ] = False,
    contents: Annotated[
        bool, typer.Option("--contents", help="Read each content and compare its checksum.")
    ] = False,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Look for damage; only --repair changes anything."""
    spool = spool_at(place(directory, store))
    if repair and spool is not None:
        spool_owner.become(spool)
    messages, found = with_store(
        directory, store, lambda opened: _followed(opened, contents=contents), looking=True
    )
    repaired = _repaired(directory, store, found if repair else [], contents=contents)
    for finding in found:
        _print_finding(finding, repaired.get(finding), as_json=as_json)
    if not as_json:
        print_line(f"{counted(messages, 'message')}, {counted(len(found), 'problem')}")
    return 1 if found else os.EX_OK


async def _followed(store: Store, *, contents: bool) -> tuple[int, list[DamageFinding]]:
    """Search, with a progress bar; return the number of messages, and the findings."""
    check = store.verification(contents=contents)
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        names = await check.listing()
        steps = progress.track(names, description="verify", total=len(names))
        found = [finding for name in steps for finding in await check.look(name)]
    return check.messages, found


def _repaired(
    directory: Path | None, url: str | None, found: list[DamageFinding], *, contents: bool
) -> Mapping[DamageFinding, str]:
    if not found:
        return {}
    try:
        return with_store(
            directory, url, lambda store: store.verification(contents=contents).repair(found)
        )
    except (StoreError, OSError) as error:
        print_error(f"the repair stopped: {reason_of(error)}")
        return {}


def _print_finding(finding: DamageFinding, done: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": finding.name, "problem": finding.problem, "repair": done})
    else:
        print_line(f"{finding.name}: {finding.problem}{f' -> {done}' if done else ''}")
