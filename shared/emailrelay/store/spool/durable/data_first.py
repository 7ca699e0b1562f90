"""Has the data of files written before their syncs begin, on a disk that takes it at once.

A file gets its place on the disk when its data is written. With all places known, one write of the
file system's journal serves all syncs of a flush; otherwise the first sync begins one, and the next
file needs another. That was 4 ms for a message instead of 8.
"""

import time
from collections.abc import Callable, Sequence

from emailrelay import linux
from emailrelay.store.spool.disk.sync_threads import Target

_LIMITS = {False: (0.002, 50), True: (0.02, 5)}
"""Seconds that an event loop can spare for a flush, and flushes without it after one that took
longer: with others beside it, and of a message alone.

On a busy machine the wait takes 2 to 10 ms, since the process waits for a processor as well. A
message alone then lost half of the rate without it, but 20 sessions lost a sixth with it.
"""


class DataFirst:
    """The writes before the syncs of one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds."""
        self._clock = clock
        self._rest = 0

    def write(self, open_files: Sequence[int], *, alone: bool) -> dict[Target, OSError]:
        """Have the data written; return the errors of files, which their syncs may not repeat.

        ``alone``: they are all that is synced at present.
        The kernel is asked to begin with each file, and waited for at the last one.
        """
        if self._rest:
            self._rest -= 1
            return {}
        failed: dict[Target, OSError] = {}
        began, last = self._clock(), len(open_files) - 1
        for number, each in enumerate(open_files):
            try:
                (linux.wait_for_writing if number == last else linux.begin_writing)(each)
            except OSError as error:
                failed[each] = error
        limit, rest = _LIMITS[alone]
        if self._clock() - began > limit:
            self._rest = rest
        return failed
