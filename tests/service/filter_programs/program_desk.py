"""Scripts as filter programs, run as filterd runs them."""

import asyncio
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import Programs
from emailrelay.filters.spec import ProgramFilter
from emailrelay.filters.verdict import BrokenFilter, Reject, Side, Spoken
from emailrelay.queue_id import QueueId
from emailrelay.store.claim import WorkCopy

MESSAGE = QueueId("1.2.3")
ENVELOPE = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
CONTENT = b"Subject: hello\r\n\r\nworld\r\n"
DEADLINE = 10.0


class Desk:
    """A work copy, and scripts to run on it."""

    def __init__(self, folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        self.folder = folder
        self.copy = WorkCopy(str(work / "m.content"), str(work / "m.envelope.new"))
        self.copy.content.write_bytes(CONTENT)
        self.copy.envelope.write_bytes(envelope_format.write(ENVELOPE))

    def script(self, body: str, *, interpreter: str = "/bin/sh", mode: int = 0o755) -> Path:
        return self.program(f"#!{interpreter}\n{textwrap.dedent(body)}", mode=mode)

    def program(self, text: str, *, mode: int = 0o755) -> Path:
        path = self.folder / f"filter{len(list(self.folder.iterdir()))}"
        path.write_text(text)
        path.chmod(mode)
        return path

    def python(self, body: str) -> Path:
        return self.script(body, interpreter=sys.executable)

    async def ask(self, programs: Programs, *filters: Path) -> Spoken:
        chain = Chain(
            filters=tuple(ProgramFilter(path) for path in filters),
            side=Side.SERVER,
            programs=programs,
        )
        return await chain.run(self.copy, message=MESSAGE)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - what other processes do sets no event of ours
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Tell whether a process has ended; an unreaped zombie has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def number_in(path: Path) -> int:
    return int(path.read_text())


def rejected(spoken: Spoken) -> Reject:
    assert isinstance(spoken.verdict, Reject)
    return spoken.verdict


def trouble(spoken: Spoken) -> BrokenFilter:
    assert isinstance(spoken.verdict, BrokenFilter)
    return spoken.verdict
