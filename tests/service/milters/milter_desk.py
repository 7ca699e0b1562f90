"""A milter on a real socket, the filter that asks it, and a message."""

import asyncio
from pathlib import Path

from tests.fakes.filter_servers import serving
from tests.fakes.milters import CONTINUE, ScriptedMilter

from emailrelay import envelope_format
from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import Accept, Side, Verdict
from emailrelay.queue_id import QueueId
from emailrelay.store.claim import WorkCopy

MESSAGE = QueueId("1.2.3")
ANN, BOB = Address("ann@y.test"), Address("bob@y.test")
ENVELOPE = Envelope(
    sender=Address("a@x.test"),
    to_local=(ANN,),
    to_remote=(BOB,),
    body=Body.EIGHT_BIT,
    client="192.0.2.7",
    authentication="alice",
    mail_from_auth_in="alice@x.test",
    arrival=ArrivalFacts("client.test", "TLSv1.3", "TLS_AES_256_GCM_SHA384", "PLAIN"),
)
OURS = (
    b"Received: from client.test ([192.0.2.7])\r\n\tby relay.test with ESMTP id 1.2.3;\r\n\tnow\r\n"
)
CONTENT = OURS + b"Subject: hello\r\nX-Fold: one\r\n\ttwo\r\n\r\nbody\r\n"
DEADLINE = 10.0


class Desk:
    """Work copies, and a milter that is asked about them."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self.programs = programs

    def copy(self, content: bytes = CONTENT, envelope: Envelope = ENVELOPE) -> WorkCopy:
        folder = self.folder / f"{len(list(self.folder.iterdir()))}.run"
        folder.mkdir()
        copy = WorkCopy(str(folder / "m.content"), str(folder / "m.envelope.new"))
        copy.content.write_bytes(content)
        copy.envelope.write_bytes(envelope_format.write(envelope) + b"X-MailRelay-Tail: {}\r\n")
        return copy

    async def run(
        self,
        *specs: str,
        copy: WorkCopy | None = None,
        side: Side = Side.SERVER,
        dsn: DsnRequest = NO_REQUEST,
    ) -> Verdict:
        chain = Chain(filters=parse_chain(specs), side=side, programs=self.programs)
        async with asyncio.timeout(DEADLINE):
            return (await chain.run(copy or self.copy(), message=MESSAGE, dsn=dsn)).verdict

    async def ask(
        self,
        script: ScriptedMilter,
        copy: WorkCopy | None = None,
        side: Side = Side.SERVER,
        dsn: DsnRequest = NO_REQUEST,
    ) -> Verdict:
        async with serving(script) as place:
            return await self.run(f"milter:{place}", copy=copy, side=side, dsn=dsn)

    async def changed(self, *packets: bytes, content: bytes = CONTENT, steps: int = 0) -> bytes:
        """Give the content after changes that a milter asks for at the end of the body."""
        copy = self.copy(content)
        script = ScriptedMilter(at_end=(*packets, CONTINUE), steps=steps)
        assert await self.ask(script, copy) == Accept()
        return copy.content.read_bytes()

    async def envelope_after(self, *packets: bytes) -> Envelope:
        copy = self.copy()
        assert await self.ask(ScriptedMilter(at_end=(*packets, CONTINUE)), copy) == Accept()
        parsed = envelope_format.parse(copy.envelope.read_bytes())
        assert parsed.tail == b"X-MailRelay-Tail: {}\r\n"
        return parsed.envelope
