"""A milter that follows a script, packet by packet; and octets that no milter should send."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_NUMBER = struct.Struct("!L")


def number(value: int) -> bytes:
    """Write a number as the protocol has it."""
    return _NUMBER.pack(value)


def packet(kind: bytes, data: bytes = b"") -> bytes:
    """Write a packet."""
    return number(len(data) + 1) + kind + data


CONTINUE = packet(b"c")


@dataclass
class ScriptedMilter:
    """Answers each command with the octets of ``answers``, by its letter; others with "continue".

    ``None`` there closes the connection instead.
    """

    answers: dict[bytes, bytes | None] = field(default_factory=dict[bytes, "bytes | None"])
    at_end: Sequence[bytes] = (CONTINUE,)
    """The packets at the end of the body."""
    version: int = 6
    steps: int = 0
    lists: bytes = b""
    """The lists of macros behind the negotiation."""
    ends_after: bytes = b""
    """The command after whose answer it closes the connection."""
    answer: Callable[[bytes, bytes], bytes | None] | None = None
    """Returns the answer to a command in place of ``answers``."""
    heard: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    """All commands, in order."""
    connections: int = 0
    _heard_one: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            (length,) = _NUMBER.unpack(await reader.readexactly(4))
            whole = await reader.readexactly(length)
            kind, data = whole[:1], whole[1:]
            self.heard.append((kind, data))
            self._heard_one.set()
            said = self._said(kind, data)
            if said is None:
                return
            writer.write(said)
            await writer.drain()
            if kind == self.ends_after:
                return

    async def until(self, kind: bytes, count: int) -> None:
        """Wait until it has heard so many commands of a kind."""
        while len(self.told(kind)) < count:
            self._heard_one.clear()
            await self._heard_one.wait()

    def told(self, kind: bytes) -> list[bytes]:
        """Give the data of all commands of a kind."""
        return [data for each, data in self.heard if each == kind]

    @property
    def steps_heard(self) -> str:
        """Give the letters of the commands, without macros."""
        return b"".join(kind for kind, _ in self.heard if kind != b"D").decode()

    def _said(self, kind: bytes, data: bytes) -> bytes | None:
        if self.answer is not None and (said := self.answer(kind, data)) != b"":
            return said
        if kind in self.answers:
            return self.answers[kind]
        match kind:
            case b"O":
                numbers = number(self.version) + number(0x1FF) + number(self.steps)
                return packet(b"O", numbers + self.lists)
            case b"E":
                return b"".join(self.at_end)
            case b"D" | b"A":
                return b""
            case b"Q":
                return None
            case _:
                return b"" if self._silent(kind) else CONTINUE

    def _silent(self, kind: bytes) -> bool:
        bits = {
            b"L": 0x80,
            b"C": 0x1000,
            b"H": 0x2000,
            b"M": 0x4000,
            b"R": 0x8000,
            b"T": 0x10000,
            b"N": 0x40000,
            b"B": 0x80000,
        }
        return bool(self.steps & bits.get(kind, 0))
