"""A desk for the tests of filters: work copies, and a chain that is asked about them."""

import asyncio
from pathlib import Path

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import Programs
from emailrelay.filters.shipped.parameters import NO_TABLES, FilterTables
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import BrokenFilter, Reject, Side, Spoken
from emailrelay.queue_id import QueueId
from emailrelay.store.claim import WorkCopy

MESSAGE = QueueId("1790000000000.2.3")
ENVELOPE = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
CONTENT = b"Subject: hello\r\n\r\nworld\r\n"
DEADLINE = 20.0
PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()


class Desk:
    """Work copies, and the filters that are asked about them."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self.programs = programs
        self.tables: FilterTables = NO_TABLES
        self._made = 0

    def copy(self, content: bytes = CONTENT, envelope: Envelope = ENVELOPE) -> WorkCopy:
        self._made += 1
        folder = self.folder / f"{self._made}.run"
        folder.mkdir()
        copy = WorkCopy(
            str(folder / f"emailrelay.{MESSAGE}.content"),
            str(folder / f"emailrelay.{MESSAGE}.envelope.new"),
        )
        copy.content.write_bytes(content)
        copy.envelope.write_bytes(envelope_format.write(envelope))
        return copy

    def script(self, text: str) -> Path:
        self._made += 1
        path = self.folder / f"{self._made}.script"
        path.write_text(text)
        path.chmod(0o755)
        return path

    async def ask(
        self, *specs: str, copy: WorkCopy | None = None, side: Side = Side.SERVER
    ) -> Spoken:
        chain = Chain(filters=parse_chain(specs, self.tables), side=side, programs=self.programs)
        async with asyncio.timeout(DEADLINE):
            return await chain.run(copy or self.copy(), message=MESSAGE)

    async def edit(self, content: bytes, *specs: str) -> bytes:
        """Return a content after filters that accept it."""
        copy = self.copy(content)
        spoken = await self.ask(*specs, copy=copy)
        assert spoken.verdict.__class__.__name__ == "Accept", spoken
        assert len(list(copy.content.parent.iterdir())) == 2
        return copy.content.read_bytes()


def trouble(spoken: Spoken) -> str:
    assert isinstance(spoken.verdict, BrokenFilter), spoken
    return spoken.verdict.reason


def refusal(spoken: Spoken) -> Reject:
    assert isinstance(spoken.verdict, Reject), spoken
    return spoken.verdict


def envelope_of(copy: WorkCopy) -> Envelope:
    return envelope_format.parse(copy.envelope.read_bytes()).envelope
