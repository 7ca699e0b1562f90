"""The first packets on a connection: what both sides can do, and want."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from types import MappingProxyType

from emailrelay.filters.milter.packets import Command, MilterError, packet

VERSION = 6
_OLDEST = 2
_ALL_ACTIONS = 0x1FF
"""The modifications: header fields, body, recipients, sender, quarantine, and lists of macros."""
_NUMBERS = struct.Struct("!LLL")
_STAGE = struct.Struct("!L")


class Steps(IntFlag):
    """The wishes of a milter about the dialogue (``SMFIP_…`` in ``mfdef.h``)."""

    NO_CONNECT = 0x1
    NO_HELO = 0x2
    NO_MAIL = 0x4
    NO_RCPT = 0x8
    NO_BODY = 0x10
    NO_HEADER = 0x20
    NO_END_OF_HEADER = 0x40
    SILENT_HEADER = 0x80
    """It does not answer to header fields; so for the other silent ones."""
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    REJECTED_RECIPIENTS = 0x800
    SILENT_CONNECT = 0x1000
    SILENT_HELO = 0x2000
    SILENT_MAIL = 0x4000
    SILENT_RCPT = 0x8000
    SILENT_DATA = 0x10000
    SILENT_UNKNOWN = 0x20000
    SILENT_END_OF_HEADER = 0x40000
    SILENT_BODY = 0x80000
    LEADING_SPACE = 0x100000
    """The values of fields have the blank behind the colon, in both directions."""


_ALL_STEPS = 0x1FFFFF
_UNWANTED: Mapping[Command, Steps] = MappingProxyType(
    {
        Command.CONNECT: Steps.NO_CONNECT,
        Command.HELO: Steps.NO_HELO,
        Command.MAIL: Steps.NO_MAIL,
        Command.RCPT: Steps.NO_RCPT,
        Command.DATA: Steps.NO_DATA,
        Command.HEADER: Steps.NO_HEADER,
        Command.END_OF_HEADER: Steps.NO_END_OF_HEADER,
        Command.BODY: Steps.NO_BODY,
    }
)
_SILENT: Mapping[Command, Steps] = MappingProxyType(
    {
        Command.CONNECT: Steps.SILENT_CONNECT,
        Command.HELO: Steps.SILENT_HELO,
        Command.MAIL: Steps.SILENT_MAIL,
        Command.RCPT: Steps.SILENT_RCPT,
        Command.DATA: Steps.SILENT_DATA,
        Command.HEADER: Steps.SILENT_HEADER,
        Command.END_OF_HEADER: Steps.SILENT_END_OF_HEADER,
        Command.BODY: Steps.SILENT_BODY,
    }
)
_DATA_SINCE = 4
"""The version of the protocol that brought DATA. Milters of older ones break at it."""
_STAGES: Mapping[int, Command] = MappingProxyType(
    {
        0: Command.CONNECT,
        1: Command.HELO,
        2: Command.MAIL,
        3: Command.RCPT,
        4: Command.DATA,
        5: Command.END_OF_BODY,
        6: Command.END_OF_HEADER,
    }
)
"""The numbers of the stages that a milter lists macros for (``SMFIM_…`` in ``mfapi.h``)."""


@dataclass(slots=True)
class MilterTerms:
    """The agreement with a milter."""

    version: int
    steps: Steps
    wanted: Mapping[Command, frozenset[bytes]]
    """The macros that it lists; a stage without a list gets all."""
    leading_space: bool = field(init=False)
    """True if values have the blank behind the colon."""
    _left_out: frozenset[Command] = field(init=False)
    _silent: frozenset[Command] = field(init=False)

    def __post_init__(self) -> None:
        self.leading_space = Steps.LEADING_SPACE in self.steps
        self._left_out = frozenset(each for each, step in _UNWANTED.items() if step in self.steps)
        self._silent = frozenset(each for each, step in _SILENT.items() if step in self.steps)

    def knows(self, command: Command) -> bool:
        """Tell whether the milter's version of the protocol has this step."""
        return command is not Command.DATA or self.version >= _DATA_SINCE

    def wants(self, command: Command) -> bool:
        """Tell whether the milter wants this step."""
        return command not in self._left_out

    def answers(self, command: Command) -> bool:
        """Tell whether the milter answers to this step."""
        return command not in self._silent


def offer() -> bytes:
    """Return our packet: version 6, with all modifications and all wishes."""
    return packet(Command.NEGOTIATE, _NUMBERS.pack(VERSION, _ALL_ACTIONS, _ALL_STEPS))


def terms(kind: bytes, data: bytes) -> MilterTerms:
    """Read the milter's packet.

    Raises:
        MilterError: it is not a milter, has another version, or wants what was not offered.

    """
    if kind != Command.NEGOTIATE or len(data) < _NUMBERS.size:
        raise MilterError(f"this is not a milter: it begins with {kind + data[:80]!r}")
    version, actions, steps = _NUMBERS.unpack_from(data)
    if not _OLDEST <= version <= VERSION:
        raise MilterError(
            f"it speaks version {version} of the milter protocol; "
            f"this relay speaks the versions {_OLDEST} to {VERSION}"
        )
    if actions & ~_ALL_ACTIONS or steps & ~_ALL_STEPS:
        raise MilterError(
            f"it wants more than was offered: actions {actions:#x}, protocol {steps:#x}"
        )
    return MilterTerms(version, Steps(steps), MappingProxyType(_wanted(data[_NUMBERS.size :])))


def _wanted(data: bytes) -> dict[Command, frozenset[bytes]]:
    lists: dict[Command, frozenset[bytes]] = {}
    while data:
        names, end, rest = data[_STAGE.size :].partition(b"\0")
        stage = _STAGES.get(_STAGE.unpack_from(data)[0]) if end else None
        if stage is None:
            raise MilterError(f"its list of macros cannot be read: {data[:80]!r}")
        lists[stage] = frozenset(bare(name) for name in names.replace(b",", b" ").split())
        data = rest
    return lists


def bare(name: bytes) -> bytes:
    """Return the name of a macro without its braces: ``{i}`` is ``i``."""
    return name[1:-1] if name.startswith(b"{") and name.endswith(b"}") else name
