"""The command ``verify``, which looks for damage."""

import os
from argparse import Namespace
from collections.abc import Mapping

from emailrelay import spool_owner
from emailrelay.errors import StoreError, reason_of
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import with_store
from emailrelay.queue.place import place
from emailrelay.store.base import Store
from emailrelay.store.chooser import spool_at
from emailrelay.store.verification import DamageFinding
from emailrelay.terminal.output import counted, print_json, print_line
from emailrelay.terminal.progress import progress


def verify(asked: Namespace) -> int:
    """Look for damage; only --repair changes anything."""
    spool = spool_at(place(asked))
    if asked.repair and spool is not None:
        spool_owner.become(spool)
    messages, found = with_store(
        asked, lambda opened: _followed(opened, contents=asked.contents), looking=True
    )
    repaired = _repaired(asked, found if asked.repair else [])
    for finding in found:
        _print_finding(finding, repaired.get(finding), as_json=asked.json)
    if not asked.json:
        print_line(f"{counted(messages, 'message')}, {counted(len(found), 'problem')}")
    return 1 if found else os.EX_OK


async def _followed(store: Store, *, contents: bool) -> tuple[int, list[DamageFinding]]:
    """Search, with a progress bar; return the number of messages, and the findings."""
    check = store.verification(contents=contents)
    names = await check.listing()
    found = list[DamageFinding]()
    with progress("verify", len(names)) as step:
        for name in names:
            found += await check.look(name)
            step()
    return check.messages, found


def _repaired(asked: Namespace, found: list[DamageFinding]) -> Mapping[DamageFinding, str]:
    if not found:
        return {}
    try:
        return with_store(
            asked, lambda store: store.verification(contents=asked.contents).repair(found)
        )
    except (StoreError, OSError) as error:
        print_error(f"the repair stopped: {reason_of(error)}")
        return {}


def _print_finding(finding: DamageFinding, done: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": finding.name, "problem": finding.problem, "repair": done})
    else:
        print_line(f"{finding.name}: {finding.problem}{f' -> {done}' if done else ''}")
