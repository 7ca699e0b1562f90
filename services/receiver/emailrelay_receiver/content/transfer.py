"""The messages of one session, from the first octet of their content to the answer: DATA and BDAT."""

import secrets
from collections.abc import Callable
from typing import Protocol

from emailrelay.ack import Ack
from emailrelay.events import Received
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.store.base import CHUNK
from emailrelay_receiver.connection.client_input import Intake
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.content.chunk_reader import ChunkReader
from emailrelay_receiver.content.dot_reader import DotReader
from emailrelay_receiver.content.incoming_message import MOST_THROWN_AWAY, Filing
from emailrelay_receiver.context import House
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import Goodbye, TakeChunk

_GO_AHEAD = Reply(354, "end with <CRLF>.<CRLF>")
_NOT_PASSED_ON = Reply(451, "4.4.0 the next mail server has not answered, try again later")
_NOT_TAKEN = Reply(451, "4.3.0 an error of ours, try again later")


class LineListener(Protocol):
    """The session, as far as content comes through it."""

    phase: Phase
    intake: Intake
    client: str
    port: int

    def say(self, reply: Reply) -> None:
        """Let a reply wait to be sent."""
        ...

    def begin_content(self) -> None:
        """Begin to count the time that the content may take."""
        ...

    async def listen(self, phase: Phase) -> None:
        """Send what was said, and be all ear from now on."""
        ...

    async def pour(self, take: Callable[[memoryview], bool]) -> None:
        """Let ``take`` have all octets that come, until it says that it wants no more or none can come."""
        ...

    def heard(self, phase: Phase) -> None:
        """Go on; raise EOFError if the session was told to end meanwhile."""
        ...


class Taking:
    """Takes the messages of one session."""

    def __init__(self, house: House, ear: LineListener, dialogue: SmtpDialogue) -> None:
        self._house = house
        self._ear = ear
        self._dialogue = dialogue
        self._name = secrets.token_hex(8) if house.ack is Ack.DELIVERED else ""
        self._chunks = ChunkReader()
        self._chunked: Filing | None = None
        """The message of which chunks were taken, and more are to come."""

    @property
    def begun(self) -> bool:
        """Whether a chunk was taken, and more are to come."""
        return self._chunked is not None

    async def data(self) -> Reply | Goodbye:
        """Take a message that ends with a dot."""
        ear, reader = self._ear, DotReader()
        ear.say(_GO_AHEAD)
        ear.begin_content()
        async with self._filing(reader) as filing:
            while reader.rest is None:
                await self._take(filing, reader)
                if filing.hopeless and filing.refusal is not None:
                    return Goodbye(filing.refusal)
            ear.phase = Phase.WORKING
            ear.intake.put_back(reader.rest)
            return await self._end(filing)

    async def chunk(self, wanted: TakeChunk) -> Reply | Goodbye:
        """Take a piece of a message, the number of whose octets is known."""
        if wanted.refusal is not None:
            return await self._refuse(wanted, wanted.refusal)
        ear = self._ear
        if self._chunked is None:
            self._chunks = ChunkReader()
            self._chunked = self._filing(self._chunks)
            self._dialogue.chunked = True
            ear.begin_content()
        filing, left = self._chunked, wanted.size

        def pour(octets: memoryview) -> bool:
            nonlocal left
            ours, others = octets[:left], octets[left:]
            left -= len(ours)
            ear.intake.put_back(others)
            return filing.take_now(ours) and left > 0

        while left:
            octets = await self._content(left)
            left -= len(octets)
            await filing.take(octets)
            del octets  # or it would be kept while the next are waited for
            if left and filing.refusal is None:
                await ear.pour(pour)
                await filing.take(b"")
        ear.phase = Phase.WORKING
        if wanted.last:
            self._chunks.end()
            await filing.take(b"")
        if filing.refusal is not None:
            await self.drop()
            return filing.refusal
        if not wanted.last:
            return Reply(250, f"2.0.0 {wanted.size} octets taken")
        self._chunked = None
        async with filing:
            return await self._end(filing)

    async def drop(self) -> None:
        """Leave nothing of a message whose last chunk has not come."""
        filing, self._chunked = self._chunked, None
        self._dialogue.end_of_mail()
        if filing is not None:
            await filing.drop()

    async def tidy(self) -> None:
        """Drop a begun message if the last command has ended its transaction."""
        if self._chunked is not None and not self._dialogue.chunked:
            await self.drop()

    async def _refuse(self, wanted: TakeChunk, refusal: Reply) -> Reply | Goodbye:
        """Read a chunk and throw it away, so that commands are found again behind it."""
        await self.drop()
        if wanted.size > self._house.offer.size + MOST_THROWN_AWAY:
            return Goodbye(refusal)
        ear, left = self._ear, wanted.size
        ear.begin_content()
        while left:
            left -= len(await self._content(left))
        ear.phase = Phase.WORKING
        return refusal

    async def _take(self, filing: Filing, reader: DotReader) -> None:
        """Take what has come, and if that is not the whole, go on without a wake-up for each piece."""
        await filing.take(await self._content())
        if reader.rest is None and filing.refusal is None:
            await self._ear.pour(lambda octets: filing.take_now(octets) and reader.rest is None)
            await filing.take(b"")

    async def _content(self, most: int = CHUNK) -> bytes:
        """Wait for octets of content."""
        await self._ear.listen(Phase.RECEIVING)
        octets = await self._ear.intake.content(most)
        self._ear.heard(Phase.WRITING)
        return octets

    def _filing(self, reader: DotReader | ChunkReader) -> Filing:
        client = "" if "client" in self._house.anonymous else self._ear.client
        return Filing(
            self._house,
            self._dialogue.envelope(client=client),
            reader,
            helo=self._dialogue.helo,
            protocol=self._dialogue.protocol,
            dsn=self._dialogue.dsn(),
        )

    async def _end(self, filing: Filing) -> Reply:
        """Commit the message and give the answer."""
        self._dialogue.end_of_mail()
        queue_id = await filing.commit(self._name)
        if queue_id is None:
            return filing.refusal or _NOT_TAKEN
        reply = await self._reply_to(queue_id, filing)
        if reply.accepted:
            self._house.report(
                Received(
                    id=queue_id,
                    sender=filing.envelope.sender,
                    recipients=len(filing.envelope.recipients),
                    size=filing.size,
                    client=self._ear.client,
                    port=self._ear.port,
                )
            )
        return reply

    async def _reply_to(self, queue_id: QueueId, filing: Filing) -> Reply:
        """Give the answer to a committed message, as soon as it may be given."""
        queued = Reply(250, f"2.0.0 Ok: queued as {queue_id}")
        if self._house.ack is Ack.STORED:
            return queued
        self._ear.phase = Phase.AWAITING
        answer = await filing.answer(self._ear.intake.gone)
        self._ear.phase = Phase.WORKING
        if self._house.ack is Ack.FILTERED:
            # Without a verdict it is ordinary mail: durable, and filtered when filterd is back.
            return queued if answer is None or answer.accepted else answer
        return answer or _NOT_PASSED_ON
