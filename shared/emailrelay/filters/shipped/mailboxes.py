"""``archive:``, ``copy:`` and ``deliver:``: copies of messages in maildirs."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from emailrelay.envelope import Address, Envelope
from emailrelay.errors import RelayError
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import chunks
from emailrelay.filters.result import opened, read_envelope
from emailrelay.filters.shipped.envelope_edit import write_envelope
from emailrelay.filters.shipped.header_block import (
    ContentRefused,
    message_pieces,
    name_of,
    read_header,
)
from emailrelay.filters.shipped.maildir import maildir_name, make_directory, write_into
from emailrelay.filters.shipped.parameters import ArchiveFilter, CopyFilter, DeliverFilter
from emailrelay.filters.verdict import Abandon, Accept
from emailrelay.queue_id import QueueId, arrived_at

_LONGEST_NAME = 200


class MailboxUnusable(RelayError):
    """A copy could not be written; the text names the place."""


def archive(one: ArchiveFilter, copy: FilterCopy, message: QueueId) -> None:
    """Write a copy into the archive.

    Raises:
        MailboxUnusable: it is not there.
        DamagedMessage: an earlier filter has damaged the files.

    """
    folder = one.directory
    if one.by_day:
        # The day of arrival: another run finds its own copy.
        folder /= time.strftime("%Y-%m-%d", time.localtime(arrived_at(message)))
        _make(one.directory)
    fields = _fields(read_envelope(copy.envelope)) if one.envelope else ()
    _write([folder], copy, message, lambda file: chain(fields, chunks(file)))


def copy_to_all(one: CopyFilter, copy: FilterCopy, message: QueueId) -> None:
    """Write a copy into each maildir in a directory. Raise as ``archive`` does."""
    try:
        found = sorted(one.directory.iterdir())
    except OSError as error:
        raise MailboxUnusable(f"{one.directory}: {error.strerror}") from error
    _write(filter(_is_maildir, found), copy, message)


def deliver(one: DeliverFilter, copy: FilterCopy, message: QueueId) -> Accept | Abandon:
    """Write a copy for each local recipient; the message goes on to the others, if any.

    This delivery is the final one, so the copies begin with a ``Return-Path`` (RFC 5321 section
    4.4). Raise as ``archive`` does.
    """
    envelope = read_envelope(copy.envelope)
    if not envelope.to_local:
        return Accept()
    boxes = [one.directory / _folder(name) for name in envelope.to_local]
    _make(one.directory)
    _write(boxes, copy, message, lambda file: _delivered(file, envelope.sender))
    if not envelope.to_remote:
        return Abandon(delivered=True)
    write_envelope(copy, envelope._replace(to_local=()))
    return Accept()


def _is_maildir(folder: Path) -> bool:
    try:
        return not folder.name.startswith(".") and (folder / "new").is_dir()
    except OSError as error:
        raise MailboxUnusable(f"{folder}: {error.strerror}") from error


def _make(directory: Path) -> None:
    try:
        make_directory(directory)
    except OSError as error:
        raise MailboxUnusable(f"{directory}: {error.strerror}") from error


def _folder(mailbox: Address) -> str:
    """Return the name of a mailbox's folder."""
    fit = mailbox and "/" not in mailbox and not mailbox.startswith(".") and mailbox.isprintable()
    if not fit or len(mailbox.encode()) > _LONGEST_NAME:
        raise MailboxUnusable(f"{mailbox[:80]!a}: is not a name for a mailbox")
    return mailbox


def _write(
    maildirs: Iterable[Path],
    copy: FilterCopy,
    message: QueueId,
    form: Callable[[BinaryIO], Iterable[bytes]] = chunks,
) -> None:
    """Write what ``form`` makes of the content into each maildir."""
    name = maildir_name(message)
    with opened(copy.content, "content") as file:
        for maildir in dict.fromkeys(maildirs):
            file.seek(0)
            try:
                write_into(maildir, name, form(file))
            except OSError as error:
                raise MailboxUnusable(f"{maildir}: {error.strerror or error}") from error


def _fields(envelope: Envelope) -> list[bytes]:
    """Return the envelope as header fields."""
    to = (f"X-Envelope-To: <{address}>\r\n".encode() for address in envelope.recipients)
    return [f"X-Envelope-From: <{envelope.sender}>\r\n".encode(), *to]


def _delivered(file: BinaryIO, sender: Address) -> Iterator[bytes]:
    """Yield a content with the only ``Return-Path`` in front."""
    yield f"Return-Path: <{sender}>\r\n".encode()
    try:
        fields, end = read_header(file)
    except ContentRefused:  # A long header is delivered as it is.
        file.seek(0)
        yield from chunks(file)
        return
    kept = (field for field in fields if name_of(field) != b"return-path")
    yield from message_pieces(kept, file, end)
