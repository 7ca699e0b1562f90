"""A server that filters, on a real socket, and the filter that asks it."""

import asyncio
from pathlib import Path

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import BrokenFilter, Side, Spoken
from emailrelay.queue_id import QueueId
from emailrelay.store.claim import WorkCopy

MESSAGE = QueueId("1.2.3")
ENVELOPE = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
CONTENT = b"Subject: hello\r\n\r\nworld\r\n"
DEADLINE = 10.0


class Desk:
    """Work copies, and the filters that are asked about them."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self.programs = programs

    def copy(self, content: bytes = CONTENT) -> WorkCopy:
        folder = self.folder / f"{len(list(self.folder.iterdir()))}.run"
        folder.mkdir()
        copy = WorkCopy(str(folder / "m.content"), str(folder / "m.envelope.new"))
        copy.content.write_bytes(content)
        copy.envelope.write_bytes(envelope_format.write(ENVELOPE))
        return copy

    async def ask(
        self, *specs: str, copy: WorkCopy | None = None, side: Side = Side.SERVER
    ) -> Spoken:
        chain = Chain(filters=parse_chain(specs), side=side, programs=self.programs)
        async with asyncio.timeout(DEADLINE):
            return await chain.run(copy or self.copy(), message=MESSAGE)


async def say_ok(_path: Path) -> str:
    return "ok\n"


def trouble(spoken: Spoken) -> str:
    assert isinstance(spoken.verdict, BrokenFilter)
    return spoken.verdict.reason
