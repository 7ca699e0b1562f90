"""The messages of one session, from the first octet of content to the reply: DATA and BDAT."""

import secrets

from emailrelay.ack import Ack
from emailrelay.events.receiving import Received
from emailrelay.mail_fields import mail_fields
from emailrelay.reply import Reply
from emailrelay.store.base import CHUNK
from emailrelay_receiver.connection.channel import ClientChannel
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.content.chunk_reader import ChunkReader
from emailrelay_receiver.content.dot_reader import DotReader
from emailrelay_receiver.content.incoming_message import (
    MOST_THROWN_AWAY,
    ContentReader,
    IncomingMessage,
)
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import Goodbye, ReceiveChunk
from emailrelay_receiver.dialogue.replies import OUR_ERROR

GO_AHEAD = Reply(354, "end with <CRLF>.<CRLF>")
_NOT_PASSED_ON = Reply(451, "4.4.0 the next mail server has not answered, try again later")


class ContentTransfer:
    """Receives the messages of one session."""

    __slots__ = ("_begun", "_channel", "_context", "_dialogue", "chunked", "session_name")

    def __init__(
        self, context: ReceiverContext, channel: ClientChannel, dialogue: SmtpDialogue
    ) -> None:
        self._context = context
        self._channel = channel
        self._dialogue = dialogue
        self.session_name = secrets.token_hex(8) if context.ack is Ack.DELIVERED else ""
        """The name under which the forwarder keeps a connection for this session."""
        self.chunked: tuple[ChunkReader, IncomingMessage] | None = None
        """The message of which chunks have arrived, and more are to come."""
        self._begun: tuple[DotReader, IncomingMessage] | None = None
        """The message for which ``data`` comes next."""

    def begin_data(self) -> tuple[DotReader, IncomingMessage]:
        """Prepare for a message that ends with a dot and was asked for; ``data`` comes next."""
        reader = DotReader()
        self._begun = reader, self._message(reader)
        self._channel.limits.begin_content()
        return self._begun

    async def data(self) -> Reply | Goodbye:
        """Receive a message that ends with a dot, begun already or not."""
        if self._begun is None:
            self._channel.reply(GO_AHEAD)
        reader, message = self._begun or self.begin_data()
        self._begun = None
        try:
            while reader.rest is None:
                await self._channel.receive(message.take, CHUNK)
                if message.refusal is not None or message.full:
                    await message.settle()
                if message.refusal is not None and message.hopeless:
                    return Goodbye(message.refusal)
            self._back_to_commands(reader.rest)
            return await self._commit(message)
        finally:
            if not message.ended:
                await message.drop()

    async def chunk(self, wanted: ReceiveChunk) -> Reply | Goodbye:
        """Receive a piece of a message whose size is known."""
        if wanted.refusal is not None:
            return await self._throw_away(wanted, wanted.refusal)
        if self.chunked is None:
            reader = ChunkReader()
            self.chunked = reader, self._message(reader)
            self._dialogue.mail.chunked = True
            self._channel.limits.begin_content()
        reader, message = self.chunked
        reader.begin(wanted.size)
        while reader.rest is None:
            await self._channel.receive(message.take, reader.left)
            if message.refusal is not None or message.full:
                await message.settle()
        self._back_to_commands(reader.rest)
        if message.refusal is not None:
            await self.drop()
            return message.refusal
        if not wanted.last:
            return Reply(250, f"2.0.0 {wanted.size} octets taken")
        reader.end()
        self.chunked = None
        try:
            return await self._commit(message)
        finally:
            if not message.ended:
                await message.drop()

    async def drop(self) -> None:
        """End the transaction, and discard a message that has not arrived as a whole."""
        parts, self.chunked, self._begun = (self.chunked, self._begun), None, None
        self._dialogue.end_of_mail()
        for part in parts:
            if part is not None:
                await part[1].drop()

    async def tidy(self) -> None:
        """Drop the begun message if the last command has ended its transaction."""
        if not self._dialogue.mail.chunked:
            await self.drop()

    async def _throw_away(self, wanted: ReceiveChunk, refusal: Reply) -> Reply | Goodbye:
        """Read a refused chunk, so that the commands behind it are found."""
        await self.drop()
        if wanted.size > self._context.offer.size + MOST_THROWN_AWAY:
            return Goodbye(refusal)
        reader = ChunkReader()
        reader.begin(wanted.size)

        def skip(octets: memoryview) -> bool:
            reader.split(octets)
            return reader.rest is None

        self._channel.limits.begin_content()
        while reader.rest is None:
            await self._channel.receive(skip, reader.left)
        self._back_to_commands(reader.rest)
        return refusal

    def _back_to_commands(self, rest: bytes) -> None:
        self._channel.limits.phase = Phase.WORKING
        self._channel.limits.end_content()
        self._channel.wire.input.put_back(rest)

    def _message(self, reader: ContentReader) -> IncomingMessage:
        shown = "client" not in self._context.anonymous
        client = self._channel.log.client if shown else ""
        helo = self._dialogue.helo if shown else ""
        return IncomingMessage(
            self._context,
            self._dialogue.mail.envelope(self._dialogue.standing, client=client, helo=helo),
            reader,
            helo=self._dialogue.helo,
            protocol=self._dialogue.protocol,
            dsn=self._dialogue.mail.dsn(),
        )

    async def _commit(self, message: IncomingMessage) -> Reply:
        """Commit the message and return the reply."""
        mail = self._dialogue.mail
        self._dialogue.end_of_mail()
        queue_id = await message.commit(self.session_name)
        mail.message_id = message.envelope.message_id
        if queue_id is None:
            return message.refusal or OUR_ERROR
        reply = Reply(250, f"2.0.0 Ok: queued as {queue_id}")
        if self._context.ack is not Ack.STORED:
            reply = await self._answer(message, reply)
        self._channel.limits.end_content()  # the reply may have come long after the content
        if reply.accepted:
            self._dialogue.message_accepted()
            self._context.report(
                Received(
                    id=queue_id,
                    size=message.size,
                    client=self._channel.log.client,
                    port=self._channel.log.port,
                    seconds=message.commit_seconds,
                    **mail_fields(message.envelope),
                )
            )
        return reply

    async def _answer(self, message: IncomingMessage, queued: Reply) -> Reply:
        """Return the reply to a message whose client waits for more than ``queued``."""
        self._channel.limits.phase = Phase.AWAITING
        answer = await message.answer(self._channel.wire.input.gone)
        self._channel.limits.phase = Phase.WORKING
        if self._context.ack is Ack.FILTERED:
            # Without a verdict it is ordinary mail: durable, and filtered when filterd is back.
            return queued if answer is None or answer.accepted else answer
        return answer or _NOT_PASSED_ON
