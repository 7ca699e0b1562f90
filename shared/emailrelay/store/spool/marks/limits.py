"""The limits of a route as files: a lock for each connection, and the times of the last messages.

``.slots/ROUTE/`` holds ``0``, ``1``, ... (each locked by the process with a connection), ``wanted``
(locked by a process that waits for a slot) and ``rate``. None of them is ever removed, so a name
and its inode always agree; a lock ends with its process.
"""

import asyncio
import os
import struct
from collections.abc import Callable

from emailrelay.errors import StoreError, as_store_error
from emailrelay.routes import Rate
from emailrelay.store.limits import RouteLimits, Slot
from emailrelay.store.spool.disk import files, locks, names, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location

_LOOK = 0.05
"""Seconds between two looks for a free slot."""
_MOMENT, _MOMENTS = 0.002, 500
"""Seconds between two tries for the rate's lock, which is held for microseconds; tries."""
_HEAD = struct.Struct("<QQ")
"""The size of the ring of times, and the number of times put into it."""
_TIME = struct.Struct("<d")


class SpoolLimits(RouteLimits):
    """See ``RouteLimits``."""

    def __init__(self, root: Directory, route: str, clock: Callable[[], float]) -> None:
        self._directory = root.below(names.SLOTS).below(route)
        self._clock = clock

    async def slot(self, most: int, *, within: float) -> Slot | None:
        """See ``RouteLimits.slot``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        mark: int | None = None
        try:
            while True:
                descriptor = _any_of(self._directory, most)
                if descriptor is not None:
                    return SpoolSlot(self._directory, descriptor)
                rest = end - loop.time()
                if rest <= 0:
                    return None
                if mark is None:
                    mark = _lock(self._directory / "wanted")
                await asyncio.sleep(min(_LOOK, rest))
        except OSError as error:
            raise StoreError(f"take a slot of {self._directory}", error) from error
        finally:
            if mark is not None:
                locks.unlock_and_close(mark)

    async def permit(self, rate: Rate) -> float:
        """See ``RouteLimits.permit``."""
        with as_store_error(f"count messages in {self._directory}"):
            for _ in range(_MOMENTS):
                descriptor = _lock(self._directory / "rate")
                if descriptor is not None:
                    try:
                        return _ask(descriptor, rate, self._clock())
                    finally:
                        locks.unlock_and_close(descriptor)
                await asyncio.sleep(_MOMENT)
        raise StoreError(f"count messages in {self._directory}", "another process holds the lock")


class SpoolSlot(Slot):
    """See ``Slot``."""

    def __init__(self, directory: Directory, descriptor: int) -> None:
        self._directory = directory
        self._descriptor: int | None = descriptor

    def wanted(self) -> bool:
        """See ``Slot.wanted``."""
        try:
            mark = regular_files.open_regular(self._directory / "wanted")
        except OSError:
            return False
        if mark is None:
            return False
        if locks.try_lock(mark):
            locks.unlock_and_close(mark)
            return False
        os.close(mark)
        return True

    def release(self) -> None:
        """See ``Slot.release``."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            locks.unlock_and_close(descriptor)


def _any_of(directory: Directory, most: int) -> int | None:
    for number in range(most):
        descriptor = _lock(directory / str(number))
        if descriptor is not None:
            return descriptor
    return None


def _lock(path: Location) -> int | None:
    """Lock a file that is never removed; make it if it is missing. None: it is locked."""
    descriptor = files.open_or_create(path)
    if locks.try_lock(descriptor):
        # An administrator may have cleared the directory: a lock on a removed file is void.
        if locks.is_named(descriptor, path):
            return descriptor
        locks.unlock_and_close(descriptor)
    else:
        os.close(descriptor)
    return None


def _ask(descriptor: int, rate: Rate, now: float) -> float:
    """Return 0.0 and note the time if the message before the last ``rate.messages`` is long ago."""
    head = os.pread(descriptor, _HEAD.size, 0)
    size, count = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
    if size != rate.messages:
        count = 0
        os.ftruncate(descriptor, 0)
        os.ftruncate(descriptor, _HEAD.size + rate.messages * _TIME.size)
    place = _HEAD.size + count % rate.messages * _TIME.size
    before = os.pread(descriptor, _TIME.size, place)
    then: float = _TIME.unpack(before)[0] if len(before) == _TIME.size else 0.0
    # A future time comes from a clock that was put back since: it counts as past.
    if then <= now < then + rate.seconds:
        return min(then + rate.seconds - now, rate.seconds)
    os.pwrite(descriptor, _TIME.pack(now), place)
    os.pwrite(descriptor, _HEAD.pack(rate.messages, count + 1), 0)
    return 0.0
