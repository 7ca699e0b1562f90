"""Checks the result of a chain in the work copy as strictly as mail from a client."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import DamagedMessage
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.verdict import BrokenFilter, Reject
from emailrelay.reply import Reply

_SPOILT = Reply(554, "5.3.0 message could not be processed")
_LONGEST_ENVELOPE = 16 * 1024 * 1024
_LONGEST_ADDRESS = 1000
"""Octets: twice the minimum of RFC 5321 4.5.3.1, and far below the limit of a command line."""
_WIRE_SAFE = re.compile(r'(?:[^\s<>"\\]|"(?:[^"\\]|\\.)*")+')
"""An address that cannot end its angle brackets or begin a parameter. Blanks are in quotes only."""


def read_result(copy: FilterCopy) -> Envelope | Reject | BrokenFilter:
    """Return the envelope that an accepting chain left, or the problem of its result.

    A ``Reject`` is the filter's doing: files removed, emptied, damaged, or unsafe to send.
    ``BrokenFilter`` is an error of the system, after which the same chain may do better.
    """
    try:
        _check_content(copy.content)
        envelope = read_envelope(copy.envelope)
        _check_addresses(envelope)
    except DamagedMessage as error:
        return spoilt(error)
    except OSError as error:
        return BrokenFilter(reason=f"cannot read the filter's result: {error.strerror}")
    return envelope


def untouched(envelope: Envelope, size: int) -> Reject | None:
    """Return the problem that ``read_result`` would find in files with such a message."""
    try:
        _check_size(size)
        _check_addresses(envelope)
    except DamagedMessage as error:
        return spoilt(error)
    return None


def spoilt(error: DamagedMessage) -> Reject:
    """Return the verdict on a message that a filter has damaged."""
    return Reject(reply=_SPOILT, reason=f"after the filter: {error}")


def _check_content(path: Path) -> None:
    """By name, as programs replace files by renaming over them."""
    with opened(path, "content") as file:
        _check_size(os.fstat(file.fileno()).st_size)


def _check_size(size: int) -> None:
    if size == 0:
        raise DamagedMessage("content: empty")


def read_envelope(path: Path) -> Envelope:
    """Return the envelope in a file that a filter may have replaced.

    Raises:
        DamagedMessage: the filter's doing.
        OSError: the system's fault.

    """
    return envelope_format.parse(octets_of_envelope(path)).envelope


def octets_of_envelope(path: Path) -> bytes:
    """Return the octets of an envelope's file. Raise as ``read_envelope`` does."""
    with opened(path, "envelope") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LONGEST_ENVELOPE:
            raise DamagedMessage("envelope: too long")
        # Reading "as much as there may be" would allocate that much memory for each.
        return file.read(size)


def opened(path: Path, what: str) -> BinaryIO:
    """Open a file that a filter may have replaced; ``what`` names it.

    Raises:
        DamagedMessage: the filter's doing: it is gone, or no regular file.
        OSError: the system's fault.

    """
    try:
        # O_NONBLOCK: a pipe in place of the file must not block.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _FILTERS_DOING:
            raise DamagedMessage(f"{what}: {error.strerror}") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DamagedMessage(f"{what}: not a regular file")
    return os.fdopen(fd, "rb")


_FILTERS_DOING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENXIO})


def _check_addresses(envelope: Envelope) -> None:
    for address in envelope.recipients:
        check_address(address)
    if envelope.sender:
        check_address(envelope.sender)


def check_address(address: Address) -> None:
    """Check that an address, other than the null sender, can be sent in a command.

    Raises:
        DamagedMessage: it cannot.

    """
    if len(address.encode()) > _LONGEST_ADDRESS or not _WIRE_SAFE.fullmatch(address):
        raise DamagedMessage(f"envelope: not an address: {address[:80]!r}")
