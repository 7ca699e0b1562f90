"""A message that travels from a receiver to a forwarder: a line with its id and lengths, its files.

The forwarder answers only about a message that it does not keep: with a line, its id.
"""

from typing import NamedTuple

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import names

LARGEST_CONTENT = 64 * 1024
LARGEST_ENVELOPE = 64 * 1024
_LONGEST_LINE = 128
"""Octets of an id and two numbers; also of an id alone."""


class Package(NamedTuple):
    """A message with the octets that its two files would have."""

    message: QueueId
    envelope: bytes
    content: bytes


def fits(envelope: bytes, content: bytes) -> bool:
    """Tell if a message is small enough to travel."""
    return len(envelope) <= LARGEST_ENVELOPE and len(content) <= LARGEST_CONTENT


def pack(package: Package) -> bytes:
    """Return the octets of a package that fits."""
    message, envelope, content = package
    head = f"{message} {len(envelope)} {len(content)}\n".encode()
    return b"".join((head, envelope, content))


class PackageReader:
    """Cuts what arrives on one connection into packages."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> list[Package]:
        """Take octets; return the packages that are whole now.

        Raises:
            ValueError: they are not packages.

        """
        self._octets += octets
        found: list[Package] = []
        while (package := self._next()) is not None:
            found.append(package)
        return found

    def _next(self) -> Package | None:
        octets = self._octets
        end = octets.find(b"\n", 0, _LONGEST_LINE)
        if end < 0:
            if len(octets) >= _LONGEST_LINE:
                raise ValueError("a line without an end")
            return None
        message, envelope, content = octets[:end].decode().split(" ")
        middle = end + 1 + _length(envelope, LARGEST_ENVELOPE)
        last = middle + _length(content, LARGEST_CONTENT)
        if len(octets) < last:
            return None
        package = Package(_id(message), bytes(octets[end + 1 : middle]), bytes(octets[middle:last]))
        del octets[:last]
        return package


class ReturnReader:
    """Cuts what comes back on one connection into ids."""

    def __init__(self) -> None:
        self._octets = b""

    def feed(self, octets: bytes) -> list[QueueId]:
        """Take octets; return the ids that are whole now.

        Raises:
            ValueError: they are not ids.

        """
        *lines, self._octets = (self._octets + octets).split(b"\n")
        if len(self._octets) > _LONGEST_LINE:
            raise ValueError("a line without an end")
        return [_id(line.decode()) for line in lines]


def returned(message: QueueId) -> bytes:
    """Return the line about a message that goes back."""
    return f"{message}\n".encode()


def _id(text: str) -> QueueId:
    if not names.is_id(text):
        raise ValueError("no id")
    return QueueId(text)


def _length(text: str, most: int) -> int:
    length = int(text)
    if not 0 <= length <= most:
        raise ValueError("too long")
    return length
