"""The states of a service's processes, in memory that they share; made before any is forked.

A process writes into its own place, and the main process reads all. Neither makes a system call or
waits: a checksum shows that a state is being written, and the reader then keeps the one before.
"""

import mmap
import struct
import zlib
from typing import NamedTuple

from emailrelay import process_state
from emailrelay.process_state import LARGEST, ProcessState

_HEAD = struct.Struct("=dqII")
"""Time of the last sign of life (monotonic), process id, octets of the state and their checksum."""
_PLACE = _HEAD.size + LARGEST


class SignOfLife(NamedTuple):
    """The last sign of life of a process."""

    pid: int
    at: float
    """Seconds on the monotonic clock."""
    state: ProcessState


class SharedStates:
    """One place for each process."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.memory = mmap.mmap(-1, places * _PLACE)
        self._last: dict[int, SignOfLife] = {}

    def write(self, place: int, life: SignOfLife) -> None:
        """Write what a process says of itself."""
        octets = process_state.written(life.state)
        start = place * _PLACE
        # The head comes last: until then, the checksum does not fit.
        self.memory[start + _HEAD.size : start + _HEAD.size + len(octets)] = octets
        head = _HEAD.pack(life.at, life.pid, len(octets), zlib.crc32(octets))
        self.memory[start : start + _HEAD.size] = head

    def read(self, place: int) -> SignOfLife | None:
        """Return what the process in a place last said; None: none has said anything."""
        start = place * _PLACE
        at, pid, length, checksum = _HEAD.unpack_from(self.memory, start)
        octets = self.memory[start + _HEAD.size : start + _HEAD.size + min(length, LARGEST)]
        if pid and zlib.crc32(octets) == checksum:
            self._last[place] = SignOfLife(pid, at, process_state.read(octets))
        return self._last.get(place)
