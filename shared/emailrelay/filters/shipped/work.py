"""The work of the filters that ship, on the two files of a message."""

import time
from pathlib import Path
from typing import assert_never

from emailrelay.address_pattern import matches
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import replaced
from emailrelay.filters.result import opened, read_envelope
from emailrelay.filters.shipped import disclaimer, dkim, dkim_keys
from emailrelay.filters.shipped.header_block import read_header, write_message
from emailrelay.filters.shipped.header_edits import edited_header
from emailrelay.filters.shipped.parameters import (
    DisclaimerFilter,
    DkimFilter,
    HeaderFilter,
    Worked,
)
from emailrelay.filters.verdict import Accept, BrokenFilter, Verdict


def work(one: Worked, copy: FilterCopy) -> Verdict:
    """Run one filter. It reads and writes files, so call it in a thread.

    Raises:
        ContentRefused: it cannot work on this content.
        DamagedMessage: an earlier filter has damaged the files.
        OSError: the system's fault.

    """
    try:
        _work(one, copy)
    except (dkim_keys.DkimKeyUnusable, disclaimer.FooterUnusable) as error:
        return BrokenFilter(reason=str(error))
    return Accept()


def _work(one: Worked, copy: FilterCopy) -> None:
    match one:
        case HeaderFilter():
            edit_header(one, copy.content)
        case DkimFilter():
            dkim.sign(one.keys, copy.content, time.time())
        case DisclaimerFilter():
            sender = read_envelope(copy.envelope).sender
            if any(matches(pattern, sender) for pattern in one.sender):
                disclaimer.add_disclaimer(one, copy.content)
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


def trouble_of(one: Worked) -> str:
    """Return the reason for which a filter cannot do its work now, or an empty text."""
    try:
        _check(one)
    except (dkim_keys.DkimKeyUnusable, disclaimer.FooterUnusable) as error:
        return str(error)
    return ""


def _check(one: Worked) -> None:
    match one:
        case HeaderFilter():
            pass
        case DkimFilter():
            for key in one.keys:
                dkim_keys.signer(key.key_file)
        case DisclaimerFilter():
            disclaimer.footer_of(one)
        case _:
            assert_never(one)
