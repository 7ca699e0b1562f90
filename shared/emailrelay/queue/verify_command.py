"""The command ``verify``, which looks for damage."""

import asyncio
import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from emailrelay import spool_owner
from emailrelay.errors import StoreError, reason_of
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import place
from emailrelay.queue.options import Json, SpoolDir
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.verify import DamageFinding, Verification
from emailrelay.terminal.screen import counted, print_json, print_line


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
) -> int:
    """Look for damage; only --repair changes anything."""
    check = Verification(Directory(str(place(directory, None)), makes=False), contents=contents)
    if repair:
        spool_owner.become(check.root.path)
    found = list(_followed(check))
    repaired = _repaired(check, found) if repair else {}
    for finding in found:
        _print_finding(finding, repaired.get(finding), as_json=as_json)
    if not as_json:
        print_line(f"{counted(check.messages, 'message')}, {counted(len(found), 'problem')}")
    return 1 if found else os.EX_OK


def _followed(check: Verification) -> list[DamageFinding]:
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        names = check.listing()
        steps = progress.track(names, description="verify", total=len(names))
        return [finding for name in steps for finding in check.look(name)]


def _repaired(check: Verification, found: list[DamageFinding]) -> dict[DamageFinding, str]:
    try:
        return asyncio.run(check.repair(found)) if found else {}
    except (StoreError, OSError) as error:
        print_error(f"the repair stopped: {reason_of(error)}")
        return {}


def _print_finding(finding: DamageFinding, done: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": finding.name, "problem": finding.problem, "repair": done})
    else:
        print_line(f"{finding.name}: {finding.problem}{f' -> {done}' if done else ''}")
