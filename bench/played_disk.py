"""The receiver on a disk whose flushes take a known time: a comparison of schedules of flushes.

A real disk that others use as well takes 1 ms now and 20 ms then. ``bench.versus --disk`` starts
this module in place of the receiver. Each sync is really done, then it waits as long as the played
disk takes. Threads make the syncs. TREE/shared and TREE/services/receiver are the code that runs.

python -m bench.played_disk KIND:MILLISECONDS TREE [options of emailrelay-receiver]

journal:4   A flush takes 4 ms. All that begin during one share the next, as in the journal of ext4.
serial:4    Each takes 4 ms, one after the other.
parallel:4  Each takes 4 ms, side by side.
"""

import os
import platform
import sys
import threading
import time
from collections.abc import Callable


class PlayedDisk:
    """The end of each flush."""

    def __init__(self, kind: str, seconds: float) -> None:
        self._kind, self._seconds = kind, seconds
        self._one = threading.Lock()
        self._end = self._next = 0.0

    def flush(self) -> None:
        """Wait until a flush that begins now has ended."""
        with self._one:
            now = time.monotonic()
            end = self._end_of(now)
        time.sleep(end - now)

    def _end_of(self, now: float) -> float:
        if self._kind == "parallel":
            return now + self._seconds
        if self._kind == "serial":
            self._end = max(now, self._end) + self._seconds
            return self._end
        if now >= self._end:
            self._end = self._next
        if now >= self._end:
            self._end = self._next = now + self._seconds
        else:
            self._next = self._end + self._seconds
        return self._next


def main() -> int:
    """Run the receiver of a checkout."""
    kind, _, milliseconds = sys.argv[1].partition(":")
    tree = sys.argv[2]
    sys.path[0:0] = [f"{tree}/shared", f"{tree}/services/receiver"]
    sys.argv[1:3] = []
    disk = PlayedDisk(kind, float(milliseconds) / 1000)

    from emailrelay import linux  # noqa: PLC0415 - of that checkout
    from emailrelay.store.spool.disk import files  # noqa: PLC0415
    from emailrelay_receiver.cli import main as receive  # noqa: PLC0415

    def on_the_disk(sync: Callable[..., None]) -> Callable[..., None]:
        def synced(target: object) -> None:
            sync(target)
            disk.flush()

        return synced

    platform.machine = lambda: ""  # no kernel syncs by itself on a processor that is not known
    linux.sync_file_system = on_the_disk(linux.sync_file_system)
    os.fdatasync = on_the_disk(os.fdatasync)
    files.sync_directory = on_the_disk(files.sync_directory)
    return receive()


if __name__ == "__main__":
    sys.exit(main())
