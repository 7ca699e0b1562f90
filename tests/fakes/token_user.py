"""A process that needs a token: prints its token, or the reason why it gets none.

usage: token_user.py SETTINGS SPOOL ACCOUNT [STEP]
    (killed when it is about to do STEP with the new tokens)
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emailrelay.errors import SignInError
from emailrelay.events.event import Event
from emailrelay.oauth import settings
from emailrelay.oauth.bearer import Bearer
from emailrelay.store.spool.tokens import Reserved


def die_in_commit(step: str) -> None:
    """Make the process kill itself at a step of storing tokens."""
    commit = Reserved.commit

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def armed(room: Reserved, octets: bytes) -> None:
        act: Callable[..., None] = die
        setattr(os, step, act)
        commit(room, octets)

    setattr(Reserved, "commit", armed)  # noqa: B010 -- a method is replaced, which types forbid


def report(event: Event) -> None:
    sys.stderr.write(f"{event}\n")


async def run(config: Path, spool: Path, name: str) -> str:
    accounts = settings.load(config, spool, {})
    bearer = Bearer(accounts.tables, accounts.tokens, report=report)
    try:
        return await bearer(name)
    except SignInError as error:
        return f"none: {error}"
    finally:
        await bearer.close()


if __name__ == "__main__":
    if len(sys.argv) > 4:
        die_in_commit(sys.argv[4])
    sys.stdout.write(asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])) + "\n")
