"""The work of the filters that ship, on the two files of a message."""

import time
from pathlib import Path
from typing import assert_never

from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import replaced
from emailrelay.filters.result import opened
from emailrelay.filters.shipped import dkim, dkim_keys
from emailrelay.filters.shipped.header_block import read_header, write_message
from emailrelay.filters.shipped.header_edits import edited_header
from emailrelay.filters.shipped.parameters import DkimFilter, HeaderFilter, Worked
from emailrelay.filters.verdict import Accept, BrokenFilter, Verdict


def work(one: Worked, copy: FilterCopy) -> Verdict:
    """Run one filter. It reads and writes files, so call it in a thread.

    Raises:
        ContentRefused: it cannot work on this content.
        DamagedMessage: an earlier filter has damaged the files.
        OSError: the system's fault.

    """
    match one:
        case HeaderFilter():
            edit_header(one, copy.content)
            return Accept()
        case DkimFilter():
            try:
                dkim.sign(one.keys, copy.content, time.time())
            except dkim_keys.DkimKeyUnusable as error:
                return BrokenFilter(reason=str(error))
            return Accept()
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
    match one:
        case HeaderFilter():
            return ""
        case DkimFilter():
            try:
                for key in one.keys:
                    dkim_keys.signer(key.key_file)
            except dkim_keys.DkimKeyUnusable as error:
                return str(error)
            return ""
        case _:
            assert_never(one)
