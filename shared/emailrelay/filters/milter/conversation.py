"""The dialogue with a milter about one message: from the client's connection to the verdict.

The order of the steps, and the steps that a milter leaves out, are those of Sendmail and Postfix.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from emailrelay.envelope import Address
from emailrelay.filters.milter import packets
from emailrelay.filters.milter.connection import MilterConnection
from emailrelay.filters.milter.header_fields import MilterField
from emailrelay.filters.milter.negotiation import MilterTerms
from emailrelay.filters.milter.packets import (
    AddHeader,
    AddRecipient,
    Answer,
    ChangeHeader,
    ChangeSender,
    Command,
    EnvelopeChange,
    HeaderChange,
    InsertHeader,
    MilterError,
    Modification,
    Quarantined,
    RemoveRecipient,
    ReplaceBody,
    ReplyCode,
)

MOST_CHANGES = 10_000
"""The most changes of header and envelope that a milter can ask for."""
MOST_OCTETS = 4 * 1024 * 1024
"""The most octets of all these changes together."""

MilterVerdict: TypeAlias = Answer | ReplyCode
"""``CONTINUE`` and ``ACCEPT`` let the message go on; all others do not."""


@dataclass(slots=True, kw_only=True)
class MilterRequest:
    """A message for a milter; the packets are ready except for the macros in front of them."""

    connect: bytes
    helo: bytes
    mail: bytes
    recipients: dict[Address, bytes]
    fields: tuple[MilterField, ...]
    body: Iterable[bytes]
    """Pieces of at most ``packets.CHUNK`` octets."""
    macros: Callable[[Command, Address | None, MilterTerms], bytes]
    """Returns the packet with the macros for a command; a recipient goes with RCPT."""
    on_progress: Callable[[], None]
    """Called when the milter asks for more time."""
    on_body: Callable[[bytes], None]
    """Called with each piece of a new body."""


@dataclass(slots=True)
class MilterChanges:
    """The changes that a milter asked for."""

    header: list[HeaderChange] = field(default_factory=list[HeaderChange])
    envelope: list[EnvelopeChange] = field(default_factory=list[EnvelopeChange])
    new_body: bool = False
    quarantine: str | None = None
    """The reason to set the message aside, if it is to be."""
    refused: dict[Address, MilterVerdict] = field(default_factory=dict[Address, MilterVerdict])
    """The recipients that it refused for good, with its answers."""
    octets: int = 0


@dataclass(frozen=True, slots=True)
class MilterResult:
    """The end of a dialogue."""

    verdict: MilterVerdict
    changes: MilterChanges
    step: Command = Command.END_OF_BODY
    """The command that was answered with the verdict."""
    recipient: Address | None = None
    """The recipient that the verdict was given for, if it was one."""

    @property
    def goes_on(self) -> bool:
        """True if another message of the same client can follow on the connection."""
        whole_client = self.step in (Command.CONNECT, Command.HELO)
        return not whole_client and self.verdict not in (Answer.SHUT_DOWN, Answer.FAIL)


async def converse(
    connection: MilterConnection, terms: MilterTerms, mail: MilterRequest
) -> MilterResult:
    """Lead the dialogue. A connection that was used before already knows the client.

    Raises:
        MilterGone: the milter closed the connection.
        MilterError: it broke the protocol.

    """
    return await _Conversation(connection, terms, mail).run()


class _Conversation:
    def __init__(
        self, connection: MilterConnection, terms: MilterTerms, mail: MilterRequest
    ) -> None:
        self._connection = connection
        self._terms = terms
        self._mail = mail
        self._changes = MilterChanges()

    async def run(self) -> MilterResult:
        ended = await self._client() or await self._envelope() or await self._content()
        return ended or MilterResult(await self._end_of_body(), self._changes)

    async def _client(self) -> MilterResult | None:
        """Begin the session, or end the message before in one that has begun."""
        if self._connection.used:
            await self._connection.send(packets.packet(Command.ABORT))
            return None
        return await self._step(Command.CONNECT, self._mail.connect) or await self._step(
            Command.HELO, self._mail.helo
        )

    async def _envelope(self) -> MilterResult | None:
        mail = self._mail
        if (ended := await self._step(Command.MAIL, mail.mail)) is not None:
            return ended
        if (ended := await self._recipients()) is not None:
            return ended
        return await self._step(Command.DATA, packets.packet(Command.DATA))

    async def _recipients(self) -> MilterResult | None:
        """Name the recipients. A message goes on without those that are refused, if any is left."""
        refused, first = self._changes.refused, None
        for address, data in self._mail.recipients.items():
            if (ended := await self._step(Command.RCPT, data, address)) is None:
                continue
            if not _refuses(ended.verdict):
                return ended
            refused[address], first = ended.verdict, first or ended
        return first if len(refused) == len(self._mail.recipients) else None

    async def _content(self) -> MilterResult | None:
        for data in self._header():
            if (ended := await self._step(Command.HEADER, data)) is not None:
                return ended
        end = packets.packet(Command.END_OF_HEADER)
        if (ended := await self._step(Command.END_OF_HEADER, end)) is not None:
            return ended
        if not self._terms.wants(Command.BODY):
            return None
        for piece in self._mail.body:
            ended = await self._step(Command.BODY, packets.packet(Command.BODY, piece))
            if ended is not None:
                return None if ended.verdict is Answer.SKIP else ended
        return None

    def _header(self) -> Iterator[bytes]:
        leading = self._terms.leading_space
        return (
            packets.header(one.name, one.value(leading_space=leading))
            for one in self._mail.fields
            if not one.hidden
        )

    async def _step(
        self, command: Command, data: bytes, recipient: Address | None = None
    ) -> MilterResult | None:
        """Take a step if the milter wants it; None: the dialogue goes on."""
        if not self._terms.wants(command):
            return None
        macros = self._mail.macros(command, recipient, self._terms)
        await self._connection.send(macros + data)
        if not self._terms.answers(command):
            return None
        answer = await self._answer()
        if isinstance(answer, Modification):
            raise MilterError(f"it asks for a change too early, at {command.name}")
        if answer is Answer.SKIP and command is not Command.BODY:
            raise MilterError(f"it skips the body at {command.name}")
        if answer is Answer.CONTINUE:
            return None
        return MilterResult(answer, self._changes, command, recipient)

    async def _end_of_body(self) -> MilterVerdict:
        macros = self._mail.macros(Command.END_OF_BODY, None, self._terms)
        await self._connection.send(macros + packets.packet(Command.END_OF_BODY))
        while isinstance(answer := await self._answer(), Modification):
            self._note(answer)
        if answer is Answer.SKIP:
            raise MilterError("it skips the body after its end")
        return answer

    async def _answer(self) -> packets.Response:
        while True:
            answer = packets.response(*await self._connection.receive())
            if answer is not Answer.PROGRESS:
                return answer
            self._mail.on_progress()

    def _note(self, change: Modification) -> None:
        """Keep a change, within the bounds."""
        changes = self._changes
        match change:
            case ReplaceBody(piece):
                changes.new_body = True
                self._mail.on_body(piece)
            case Quarantined(reason):
                changes.quarantine = reason
            case (
                AddHeader(name, value) | InsertHeader(_, name, value) | ChangeHeader(_, name, value)
            ):
                changes.header.append(change)
                changes.octets += len(name) + len(value)
            case AddRecipient(address) | RemoveRecipient(address) | ChangeSender(address):
                changes.envelope.append(change)
                changes.octets += len(address)
        most = len(changes.header) + len(changes.envelope) > MOST_CHANGES
        if most or changes.octets > MOST_OCTETS:
            raise MilterError("it asks for too many changes")


def _refuses(verdict: MilterVerdict) -> bool:
    """Tell whether an answer to a recipient is about this one, and for good."""
    if isinstance(verdict, ReplyCode):
        return verdict.reply.permanent
    return verdict is Answer.REJECT
