"""Runs a milter on a work copy: the message goes to it, its changes and verdict come back."""

import asyncio
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Self

from emailrelay import envelope_format
from emailrelay.envelope import Envelope
from emailrelay.filters import editing
from emailrelay.filters.copy import FilterCopy, FilteredMail, LateCopy
from emailrelay.filters.milter import (
    conversation,
    header_fields,
    new_envelope,
    new_header,
    packets,
)
from emailrelay.filters.milter.client_facts import MailFacts
from emailrelay.filters.milter.connection import MilterConnection, MilterGone
from emailrelay.filters.milter.connections import MilterConnections, MilterSession
from emailrelay.filters.milter.conversation import MilterRequest, MilterResult
from emailrelay.filters.milter.header_fields import MilterHeader
from emailrelay.filters.milter.new_body import NewBody
from emailrelay.filters.milter.packets import Answer, MilterError, ReplyCode
from emailrelay.filters.milter.sent_content import as_sent
from emailrelay.filters.result import octets_of_envelope, opened, read_envelope
from emailrelay.filters.shipped.header_block import ContentRefused
from emailrelay.filters.verdict import (
    Abandon,
    Accept,
    BrokenFilter,
    RefusedRecipient,
    Side,
    Verdict,
    rejection,
)
from emailrelay.host_port import ServerAddress
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply, one_line

_LONGEST_HEADER = 4 * 1024 * 1024
_SMALL = 256 * 1024
"""Octets that are written within the page cache at once; a thread costs more."""
_ROOM = 64 * 1024 * 1024
"""A new body can have twice the octets of the content, and so many more."""
_REJECTED = Reply(550, "5.7.1 message rejected")
_REFUSED = Reply(550, "5.7.1 recipient rejected")
_TOO_LONG = Reply(552, "5.3.4 header too long")
_LATER = Reply(451, "4.7.1 try again later")


async def run(
    place: ServerAddress,
    copy: FilterCopy,
    *,
    about: FilteredMail,
    side: Side,
    connections: MilterConnections,
    on_progress: Callable[[], None],
) -> Verdict:
    """Give the message to the milter, and apply its changes if the message goes on.

    Raises:
        OSError: the milter cannot be reached, or the copy cannot be read or written.
        MilterError: it broke the protocol, or closed the connection.
        DamagedMessage: the copy is not a message.
        ContentRefused: a milter cannot get its header.

    """
    envelope, file = _read(copy)
    with file, await _mail_in(file, envelope, about, copy) as mail:
        result = await _converse(place, mail, connections, on_progress)
        verdict = _verdict(place, result, side, envelope)
        if isinstance(verdict, Accept):
            kept = (
                _apply(copy, mail, result)
                if mail.size <= _SMALL and result.changes.few
                else await asyncio.to_thread(_apply, copy, mail, result)
            )
            if not kept.recipients:
                return Abandon(refused=verdict.refused)
    return verdict


def _read(copy: FilterCopy) -> tuple[Envelope, BinaryIO]:
    if isinstance(copy, LateCopy) and copy.message is not None:
        envelope, content = copy.message
        return envelope, BytesIO(content)
    return read_envelope(copy.envelope), opened(copy.content, "content")


async def _mail_in(
    file: BinaryIO, envelope: Envelope, about: FilteredMail, copy: FilterCopy
) -> "_Mail":
    """Read a message, in a thread if it is large: a header can have a million fields."""
    if file.seek(0, 2) <= _SMALL:
        return _mail(file, None, envelope, about, copy)
    return await asyncio.to_thread(_mail, file, copy.content.parent, envelope, about, copy)


def _mail(
    file: BinaryIO, folder: Path | None, envelope: Envelope, about: FilteredMail, copy: FilterCopy
) -> "_Mail":
    file.seek(0)
    content = as_sent(file, folder)
    try:
        return _Mail(content, envelope, about, copy)
    except BaseException:
        content.close()
        raise


class _Mail:
    """The message, read as a milter gets it; it closes ``content`` at its end."""

    def __init__(
        self, content: BinaryIO, envelope: Envelope, about: FilteredMail, copy: FilterCopy
    ) -> None:
        self.content = content
        self.envelope = envelope
        self.size = content.seek(0, 2)
        content.seek(0)
        self.header = _header(content, about.id)
        self.new_body = NewBody(copy, 2 * self.size + _ROOM)
        self._facts = MailFacts(about, envelope, self.size, about.host)
        self.leading_space = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.new_body.drop()
        self.content.close()

    def client(self) -> bytes:
        """Return the facts about the client."""
        return self._facts.session.all

    def request(self, on_progress: Callable[[], None]) -> MilterRequest:
        """Return what the milter gets, from the beginning."""
        self.new_body.drop()
        facts = self._facts
        return MilterRequest(
            connect=facts.session.connect,
            helo=facts.session.helo,
            mail=facts.mail(),
            recipients={address: facts.rcpt(address) for address in self.envelope.recipients},
            fields=self.header.fields,
            body=_ended(self.body(packets.CHUNK)),
            macros=facts.macros,
            on_progress=on_progress,
            on_body=self.new_body.keep,
        )

    def body(self, chunk: int) -> Iterator[bytes]:
        """Yield the body in pieces."""
        self.content.seek(self.header.body_at)
        while piece := self.content.read(chunk):
            yield piece


def _ended(body: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a body with the end of its last line, as the next server gets it.

    Without it OpenDKIM signs nothing.
    """
    last = b"\r\n"
    for piece in body:
        yield piece
        last = (last + piece)[-2:]
    if last != b"\r\n":
        yield b"\r\n"


async def _converse(
    place: ServerAddress,
    mail: _Mail,
    connections: MilterConnections,
    on_progress: Callable[[], None],
) -> MilterResult:
    """Lead the dialogue; a connection that its milter had closed is replaced once."""
    session = MilterSession(place, mail.client())
    connection = await connections.borrow(session)
    try:
        return await _on(connection, session, mail, connections, on_progress)
    except MilterGone as error:
        if not connection.used:
            raise MilterError(str(error)) from error
    connection = await connections.borrow(session, fresh=True)
    try:
        return await _on(connection, session, mail, connections, on_progress)
    except MilterGone as error:
        raise MilterError(str(error)) from error


async def _on(
    connection: MilterConnection,
    session: MilterSession,
    mail: _Mail,
    connections: MilterConnections,
    on_progress: Callable[[], None],
) -> MilterResult:
    try:
        terms = connection.terms or await connection.negotiate()
        mail.leading_space = terms.leading_space
        result = await conversation.converse(connection, terms, mail.request(on_progress))
    except BaseException:
        # Otherwise a late answer would pass for one about the next message.
        connection.abort()
        raise
    if result.goes_on:
        connections.give_back(session, connection)
    else:
        connection.end()
    return result


def _verdict(place: ServerAddress, result: MilterResult, side: Side, envelope: Envelope) -> Verdict:
    about = f" for <{result.recipient}>" if result.recipient else ""
    match result.verdict:
        case Answer.CONTINUE | Answer.ACCEPT:
            return _accepted(place, result, envelope)
        case Answer.REJECT:
            return rejection(_REJECTED, f"the milter rejects{about}", side)
        case Answer.LATER | Answer.SHUT_DOWN:
            return _later(_LATER, f"the milter asks for another try later{about}", side)
        case ReplyCode(reply) if reply.permanent:
            return rejection(reply, f"the milter says {reply}{about}", side)
        case ReplyCode(reply):
            return _later(reply, f"the milter says {reply}{about}", side)
        case Answer.DISCARD:
            return Abandon(refused=_refused(place, result, envelope))
        case _:
            return BrokenFilter(reason=f"the milter fails{about}")


def _accepted(place: ServerAddress, result: MilterResult, envelope: Envelope) -> Accept:
    quarantine, refused = result.changes.quarantine, _refused(place, result, envelope)
    if quarantine is None:
        return Accept(refused=refused)
    return Accept(quarantine=one_line(f"milter:{place}: {quarantine}"), refused=refused)


def _refused(
    place: ServerAddress, result: MilterResult, envelope: Envelope
) -> tuple[RefusedRecipient, ...]:
    local = frozenset(envelope.to_local)
    return tuple(
        RefusedRecipient(
            address,
            answer.reply if isinstance(answer, ReplyCode) else _REFUSED,
            f"milter:{place}",
            address in local,
        )
        for address, answer in result.changes.refused.items()
    )


def _later(reply: Reply, reason: str, side: Side) -> Verdict:
    # A client filter's rejection is final, and this one is not.
    if side is Side.CLIENT:
        return BrokenFilter(reason=reason, reply=reply)
    return rejection(reply, reason, side)


def _apply(copy: FilterCopy, mail: _Mail, result: MilterResult) -> Envelope:
    """Make the changes in a copy; return the new envelope. Without recipients nothing is made."""
    changes = result.changes
    kept = new_envelope.without(mail.envelope, changes.refused)
    kept = new_envelope.changed(kept, changes.envelope)
    if kept.recipients:
        _write(copy, mail, result, kept)
    return kept


def _write(copy: FilterCopy, mail: _Mail, result: MilterResult, kept: Envelope) -> None:
    changes = result.changes
    header = _changed_header(mail, result)
    if isinstance(copy, LateCopy) and copy.message is not None and not changes.new_body:
        if header is not None:
            copy.change(kept, b"".join((header, *mail.body(packets.CHUNK))))
        elif kept != mail.envelope:
            copy.change(kept, copy.message[1])
        return
    if header is not None:
        with editing.replaced(copy.content) as write:
            write(header)
            if changes.new_body:
                mail.new_body.write_to(write)
            else:
                for piece in mail.body(packets.CHUNK):
                    write(piece)
    if kept != mail.envelope:
        _write_envelope(copy.envelope, kept)


def _changed_header(mail: _Mail, result: MilterResult) -> bytes | None:
    """Return the new header; None: the content stays as it is."""
    changes = result.changes
    if not (changes.header or changes.new_body):
        return None
    fields = new_header.changed(
        mail.header.fields, changes.header, leading_space=mail.leading_space
    )
    return header_fields.written(fields)


def _write_envelope(path: Path, envelope: Envelope) -> None:
    old = envelope_format.parse(octets_of_envelope(path))
    with editing.replaced(path) as write:
        write(envelope_format.write(envelope))
        write(old.tail)


def _header(content: BinaryIO, message: QueueId) -> MilterHeader:
    """Read the header, as much as a milter can get of it."""
    beginning = b""
    while len(beginning) < _LONGEST_HEADER and (more := content.read(packets.CHUNK)):
        beginning += more
        if b"\r\n\r\n" in beginning[-len(more) - 3 :]:
            break
    found = header_fields.split(beginning, f" id {message};".encode())
    if found.body_at == len(beginning) and len(beginning) >= _LONGEST_HEADER:
        raise ContentRefused(_TOO_LONG, f"the header has more than {_LONGEST_HEADER} octets")
    if any(len(each.name) > packets.LONGEST_NAME for each in found.fields):
        raise ContentRefused(_TOO_LONG, "the name of a header field does not fit into a packet")
    return found
