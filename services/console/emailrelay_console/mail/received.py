"""The messages of a directory, for demonstrations: what a smarthost got."""

import re
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import NamedTuple

from emailrelay.printable import printable

_NAME = re.compile(r"[0-9]{1,12}\.eml")
_NUMBERS = 10**12
_MOST = 200
_LARGEST = 256 * 1024
"""Octets of a message that are read."""


class ReceivedMessage(NamedTuple):
    """A message as it is shown."""

    number: int
    at: float
    """Time of arrival (seconds since 1970)."""
    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    """Its first octets, with replaced control characters."""


def listed(directory: Path) -> list[ReceivedMessage]:
    """Return the latest messages, the newest first. Blocks.

    Raises:
        OSError: the directory cannot be read.

    """
    if not directory.is_dir():
        return []
    names = sorted(each.name for each in directory.iterdir() if _NAME.fullmatch(each.name))
    found = (_read(directory / name) for name in names[: -_MOST - 1 : -1])
    return [each for each in found if each is not None]


def read_message(directory: Path, number: int) -> ReceivedMessage | None:
    """Return a message; None: there is none of this number. Blocks."""
    return _read(directory / f"{number:08d}.eml") if number < _NUMBERS else None


def _read(path: Path) -> ReceivedMessage | None:
    try:
        with path.open("rb") as file:
            octets = file.read(_LARGEST)
        at = path.stat().st_mtime
    except FileNotFoundError:
        return None
    head, _, _ = octets.partition(b"\r\n\r\n")
    fields = BytesHeaderParser().parsebytes(head[:16_384])
    lines = octets.decode(errors="replace").splitlines()
    return ReceivedMessage(
        int(path.stem),
        at,
        _field(fields, "X-Envelope-From"),
        tuple(str(each) for each in fields.get_all("X-Envelope-To", [])),
        _field(fields, "Subject"),
        "\n".join(printable(line.expandtabs()) for line in lines),
    )


def _field(fields: Message, name: str) -> str:
    return str(fields.get(name, ""))
