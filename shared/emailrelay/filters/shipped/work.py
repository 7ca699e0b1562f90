"""The work of the filters that ship, on the two files of a message."""

from pathlib import Path
from typing import assert_never

from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import replaced
from emailrelay.filters.result import opened
from emailrelay.filters.shipped.header_block import read_header, write_message
from emailrelay.filters.shipped.header_edits import edited_header
from emailrelay.filters.shipped.parameters import HeaderFilter, Worked
from emailrelay.filters.verdict import Accept, Verdict


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
