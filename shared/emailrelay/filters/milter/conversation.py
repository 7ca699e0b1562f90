"""The dialogue with a milter about one message: from the client's connection to the verdict.

The order of the steps, and the steps that a milter leaves out, are those of Sendmail and Postfix.
Several steps go out together. A milter reads them one after the other, as the protocol has them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
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
_FEW = 100

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

    @property
    def few(self) -> bool:
        """True if they can be made at once; a thread costs more."""
        return not self.new_body and len(self.header) + len(self.envelope) <= _FEW


@dataclass(frozen=True, slots=True)
class MilterResult:
    """The end of a dialogue."""

    verdict: MilterVerdict
    changes: MilterChanges
    step: Command = Command.END_OF_BODY
    """The command that was answered with the verdict."""
    recipient: Address | None = None
    """The recipient that the verdict was given for, if it was one."""
    whole: bool = True
    """False if steps that were sent behind have no answer yet."""

    @property
    def goes_on(self) -> bool:
        """True if another message of the same client can follow on the connection."""
        whole_client = self.step in (Command.CONNECT, Command.HELO)
        return (
            self.whole and not whole_client and self.verdict not in (Answer.SHUT_DOWN, Answer.FAIL)
        )


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
        self._unsent = bytearray()
        self._unanswered = deque[tuple[Command, Address | None]]()
        self._skipped = set[Command]()
        """The steps of which no more are wanted."""

    async def run(self) -> MilterResult:
        ended = await self._envelope() or await self._content()
        return ended or await self._end_of_body()

    async def _envelope(self) -> MilterResult | None:
        """Take the steps up to the last recipient. A message goes on if any recipient is left."""
        mail, refused = self._mail, self._changes.refused
        if self._connection.used:
            self._unsent += packets.packet(Command.ABORT)  # ends the message before
        elif (
            ended := await self._step(Command.CONNECT, mail.connect)
            or await self._step(Command.HELO, mail.helo)
            or await self._answers()
        ) is not None:
            return ended
        if (ended := await self._step(Command.MAIL, mail.mail)) is not None:
            return ended
        for address, data in mail.recipients.items():
            if (ended := await self._step(Command.RCPT, data, address)) is not None:
                return ended
        if (ended := await self._answers()) is not None:
            return ended
        if len(refused) < len(mail.recipients):
            return None
        address, verdict = next(iter(refused.items()))
        return MilterResult(verdict, self._changes, Command.RCPT, address)

    async def _content(self) -> MilterResult | None:
        if (ended := await self._step(Command.DATA, packets.packet(Command.DATA))) is not None:
            return ended
        for data in self._header():
            if (ended := await self._step(Command.HEADER, data)) is not None:
                return ended
        end = packets.packet(Command.END_OF_HEADER)
        if (ended := await self._step(Command.END_OF_HEADER, end)) is not None:
            return ended
        if not self._terms.wants(Command.BODY):
            return None
        for piece in self._mail.body:
            data = packets.packet(Command.BODY, piece)
            if (ended := await self._step(Command.BODY, data)) is not None:
                return ended
            if Command.BODY in self._skipped:
                break
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
        """Take a step if the milter wants it; None: the dialogue goes on.

        The packet goes out with those of the next steps, and the answers come together: each turn
        of the dialogue costs more than all packets of a small message. A milter gets the macros of
        a step that it does not want, too, as from Postfix: it may ask for them at a later one.
        """
        if command in self._skipped or not self._terms.knows(command):
            return None
        self._unsent += self._mail.macros(command, recipient, self._terms)
        if self._terms.wants(command):
            self._unsent += data
            if self._terms.answers(command):
                self._unanswered.append((command, recipient))
        more = len(self._unsent) < packets.CHUNK and self._connection.answers_together
        return None if more else await self._answers()

    async def _answers(self) -> MilterResult | None:
        """Send what is left, and read the answers up to one that ends the dialogue."""
        if self._unsent:
            await self._connection.send(bytes(self._unsent))
            self._unsent.clear()
        while self._unanswered:
            command, recipient = self._unanswered.popleft()
            answer = self._heard() or await self._answer()
            if isinstance(answer, Modification):
                raise MilterError(f"it asks for a change too early, at {command.name}")
            if answer is Answer.SKIP:
                self._skipped.add(command)
            elif recipient is not None and _refuses(answer):
                self._changes.refused[recipient] = answer
            elif answer is not Answer.CONTINUE:
                whole = not self._unanswered
                return MilterResult(answer, self._changes, command, recipient, whole=whole)
        return None

    async def _end_of_body(self) -> MilterResult:
        self._unsent += self._mail.macros(Command.END_OF_BODY, None, self._terms)
        self._unsent += packets.packet(Command.END_OF_BODY)
        if (ended := await self._answers()) is not None:
            # It may answer to the end of the body or not, and a late answer would be misread.
            return replace(ended, whole=False)
        while isinstance(answer := self._heard() or await self._answer(), Modification):
            self._note(answer)
        if answer is Answer.SKIP:
            raise MilterError("it skips the body after its end")
        return MilterResult(answer, self._changes)

    def _heard(self) -> packets.Response | None:
        """Return the next answer if it has come with the one before, as most do."""
        while (found := self._connection.heard()) is not None:
            answer = packets.response(*found)
            if answer is not Answer.PROGRESS:
                return answer
            self._mail.on_progress()
        return None

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
