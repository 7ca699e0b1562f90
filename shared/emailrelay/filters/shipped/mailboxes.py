"""``archive:``, ``copy:`` and ``deliver:``: copies of messages in maildirs."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from emailrelay.envelope import Address, Envelope
from emailrelay.errors import RelayError
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import chunks
from emailrelay.filters.result import opened, read_envelope
from emailrelay.filters.shipped.envelope_edit import write_envelope
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
    envelope = read_envelope(copy.envelope) if one.envelope else None
    _write([folder], copy, message, envelope)


def copy_to_all(one: CopyFilter, copy: FilterCopy, message: QueueId) -> None:
    """Write a copy into each maildir in a directory. Raise as ``archive`` does."""
    try:
        found = sorted(one.directory.iterdir())
    except OSError as error:
        raise MailboxUnusable(f"{one.directory}: {error.strerror}") from error
    maildirs = [each for each in found if not each.name.startswith(".") and (each / "new").is_dir()]
    _write(maildirs, copy, message)


def deliver(one: DeliverFilter, copy: FilterCopy, message: QueueId) -> Accept | Abandon:
    """Write a copy for each local recipient; the message goes on to the others, if any.

    Raise as ``archive`` does.
    """
    envelope = read_envelope(copy.envelope)
    if not envelope.to_local:
        return Accept()
    boxes = [one.directory / _folder(name) for name in envelope.to_local]
    _make(one.directory)
    _write(boxes, copy, message)
    if not envelope.to_remote:
        return Abandon()
    write_envelope(copy, envelope._replace(to_local=()))
    return Accept()


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
    envelope: Envelope | None = None,
) -> None:
    name = maildir_name(message)
    with opened(copy.content, "content") as file:
        for maildir in dict.fromkeys(maildirs):
            file.seek(0)
            pieces = (*_fields(envelope),) if envelope else ()
            try:
                write_into(maildir, name, _all(pieces, chunks(file)))
            except OSError as error:
                raise MailboxUnusable(f"{maildir}: {error.strerror or error}") from error


def _all(first: Iterable[bytes], rest: Iterable[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest


def _fields(envelope: Envelope) -> Iterator[bytes]:
    """Yield the envelope as header fields."""
    yield f"X-Envelope-From: <{envelope.sender}>\r\n".encode()
    for address in envelope.recipients:
        yield f"X-Envelope-To: <{address}>\r\n".encode()
