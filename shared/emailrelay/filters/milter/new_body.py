"""A body that a milter sends in place of the old one, kept until the verdict; few milters do."""

import tempfile
from collections.abc import Callable
from typing import BinaryIO, cast

from emailrelay.filters import editing
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.milter import packets
from emailrelay.filters.milter.packets import MilterError

_IN_MEMORY = 1024 * 1024
"""Octets beyond which it waits in a file."""


class NewBody:
    """The pieces that have come; no file is made before the first one."""

    def __init__(self, copy: FilterCopy, most: int) -> None:
        """Take at most ``most`` octets; a file lies in the directory of ``copy``."""
        self._copy, self._most = copy, most
        self._file: BinaryIO | None = None
        self._size = 0

    def drop(self) -> None:
        """Forget what has come."""
        if self._file is not None:
            self._file.close()
            self._file, self._size = None, 0

    def keep(self, piece: bytes) -> None:
        """Append a piece.

        Raises:
            MilterError: the body is too large.

        """
        self._size += len(piece)
        if self._size > self._most:
            raise MilterError("its new body is too large")
        if self._file is None:
            where = str(self._copy.content.parent)
            file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=where)  # noqa: SIM115 - see drop
            self._file = cast("BinaryIO", file)
        self._file.write(piece)

    def write_to(self, write: Callable[[bytes], object]) -> None:
        """Write it with CRLF at the end of each line, also of the last."""
        put, last = editing.with_crlf(write), b"\n"
        if self._file is not None:
            self._file.seek(0)
            while piece := self._file.read(packets.CHUNK):
                put(piece)
                last = piece[-1:]
        if last != b"\n":
            write(b"\n" if last == b"\r" else b"\r\n")
