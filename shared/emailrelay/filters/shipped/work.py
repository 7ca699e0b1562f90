"""The work of the filters that ship, on the two files of a message."""

import time
from pathlib import Path
from typing import TypeAlias, assert_never

from emailrelay.address_pattern import matches
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import replaced
from emailrelay.filters.result import opened, read_envelope
from emailrelay.filters.shipped import (
    disclaimer,
    dkim,
    dkim_keys,
    mailboxes,
    mx,
    rewrite,
    splitting,
)
from emailrelay.filters.shipped.header_block import read_header, write_message
from emailrelay.filters.shipped.header_edits import edited_header
from emailrelay.filters.shipped.maildir import directory_trouble, maildir_trouble
from emailrelay.filters.shipped.parameters import (
    ArchiveFilter,
    CopyFilter,
    DeliverFilter,
    DisclaimerFilter,
    DkimFilter,
    HeaderFilter,
    MxFilter,
    RewriteFilter,
    SplitFilter,
    Worked,
)
from emailrelay.filters.shipped.rewrite_map import RewriteMapUnusable
from emailrelay.filters.verdict import Accept, BrokenFilter, Verdict
from emailrelay.queue_id import QueueId

_UNUSABLE = (
    dkim_keys.DkimKeyUnusable,
    disclaimer.FooterUnusable,
    mailboxes.MailboxUnusable,
    RewriteMapUnusable,
)
_Accepting: TypeAlias = (
    HeaderFilter
    | DkimFilter
    | DisclaimerFilter
    | ArchiveFilter
    | CopyFilter
    | RewriteFilter
    | SplitFilter
)


def work(one: Worked, copy: FilterCopy, message: QueueId) -> Verdict:
    """Run one filter. It reads and writes files, so call it in a thread.

    Raises:
        ContentRefused: it cannot work on this content.
        DamagedMessage: an earlier filter has damaged the files.
        OSError: the system's fault.

    """
    try:
        if isinstance(one, DeliverFilter):
            return mailboxes.deliver(one, copy, message)
        _work(one, copy, message)
    except _UNUSABLE as error:
        return BrokenFilter(reason=str(error))
    return Accept()


def _work(one: _Accepting, copy: FilterCopy, message: QueueId) -> None:
    match one:
        case HeaderFilter():
            edit_header(one, copy.content)
        case DkimFilter():
            dkim.sign(one.keys, copy.content, time.time())
        case DisclaimerFilter():
            sender = read_envelope(copy.envelope).sender
            if any(matches(pattern, sender) for pattern in one.sender):
                disclaimer.add_disclaimer(one, copy.content)
        case ArchiveFilter():
            mailboxes.archive(one, copy, message)
        case RewriteFilter():
            rewrite.rewrite(one, copy)
        case SplitFilter():
            splitting.divide(copy)
        case CopyFilter():
            mailboxes.copy_to_all(one, copy, message)
        case _:
            assert_never(one)


def edit_header(one: HeaderFilter, content: Path) -> None:
    """Edit the header of a content; without a change, leave the file alone."""
    with opened(content, "content") as file:
        block = read_header(file)
        fields = edited_header(block.fields, one.edits)
        if fields != block.fields:
            with replaced(content) as write:
                write_message(write, fields, file, block.end)


def trouble_of(one: Worked | MxFilter) -> str:
    """Return the reason for which a filter cannot do its work now, or an empty text."""
    match one:
        case HeaderFilter() | SplitFilter():
            return ""
        case MxFilter():
            return mx.missing_library()
        case DkimFilter() | DisclaimerFilter() | RewriteFilter():
            try:
                _read_files(one)
            except _UNUSABLE as error:
                return str(error)
            return ""
        case CopyFilter():
            return directory_trouble(one.directory)
        case ArchiveFilter() | DeliverFilter():
            return maildir_trouble(one.directory)
        case _:
            assert_never(one)


def _read_files(one: DkimFilter | DisclaimerFilter | RewriteFilter) -> None:
    match one:
        case DkimFilter():
            for key in one.keys:
                dkim_keys.signer(key.key_file)
        case DisclaimerFilter():
            disclaimer.footer_of(one)
        case RewriteFilter():
            rewrite.map_of(one.path)
