"""Other processes that claim what is ready in a store."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.mail import Opener

ROOT = Path(__file__).parents[2]
LONG = 60.0
"""Seconds that a flood may take on a busy machine before the test counts as hung."""


class Claimer:
    """A process that claims; see ``claimer``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(LONG):
            return (await self.process.stdout.readline()).decode().strip()


@asynccontextmanager
async def claimer(
    opener: Opener, *options: str, before: tuple[str, ...] = ()
) -> AsyncGenerator[Claimer]:
    """Start a claimer, which has armed its watch, and kill it in the end."""
    command = (*before, sys.executable, "-m", "tests.contract.claimer", opener.place)
    process = await asyncio.create_subprocess_exec(
        *command, *options, cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        started = Claimer(process)
        assert await started.line() == "ready"
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # What is unread keeps the pipe open.
        await process.communicate()
