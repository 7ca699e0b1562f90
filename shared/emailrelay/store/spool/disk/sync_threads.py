"""Syncs files and directories side by side, and closes files that were removed.

All writes are begun at once, and waited for before anything is synced: so one write of the file
system's journal makes all of them durable. Then each is synced in one of a few threads, because the
kernel merges flushes that overlap. Many files are synced with all of their file system. With its
last close a large removed file gives back its blocks, which takes longer (0.15-1 ms) than an event
loop with many sessions can spare.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from emailrelay import linux
from emailrelay.store.spool.disk import file_octets, files
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.file_system import FileSystem

_THREADS = 4
"""Threads that sync. More would cost more CPU time than they save, since all writes are begun."""
_MANY = 6
"""Files (of three messages) from which on a sync of all costs less (``file_system``)."""

Target: TypeAlias = int | Directory
"""An open file, or a directory."""
NO_DEVICES: Mapping[int, int] = MappingProxyType({})
_T = TypeVar("_T", bound=Target)


class SyncThreads:
    """A few threads that help the calling one."""

    def __init__(self) -> None:
        self._helpers = ThreadPoolExecutor(_THREADS - 1, thread_name_prefix="sync")

    def sync(
        self,
        targets: Sequence[Target],
        whole: FileSystem | None = None,
        *,
        devices: Mapping[int, int] = NO_DEVICES,
    ) -> dict[Target, OSError]:
        """Sync all; return the errors of those that failed.

        ``whole``: the file system of all files. ``devices``: the devices of files, as far as they
        are known.
        """
        open_files = [target for target in targets if isinstance(target, int)]
        many = len(open_files) >= _MANY
        unknown = [each for each in open_files if each not in devices]
        if whole is not None and many and whole.serves(unknown, set(devices.values())):
            try:
                whole.sync()
            except OSError as error:  # it may be any file's
                return dict.fromkeys(targets, error)
            return {}
        return self._sync_by_files(targets, open_files)

    def _sync_by_files(
        self, targets: Sequence[Target], open_files: Sequence[int]
    ) -> dict[Target, OSError]:
        directories = list(
            dict.fromkeys(target for target in targets if isinstance(target, Directory))
        )
        failed = _write(open_files)
        # Directories first: they take longest, and each goes to another thread.
        every: list[Target] = [*directories, *open_files]
        every = [target for target in every if target not in failed]
        shares = [every[k::_THREADS] for k in range(_THREADS)]
        others: list[Future[dict[Target, OSError]]] = []
        own = shares[0]
        for share in filter(None, shares[1:]):
            try:
                others.append(self._helpers.submit(_sync_each, share))
            except RuntimeError:  # no further thread: the calling one does it
                own += share
        failed.update(_sync_each(own))
        for other in others:
            failed.update(other.result())
        return failed

    def begin(self, open_file: int) -> Future[None]:
        """Start writing a large file back before it is complete."""
        try:
            return self._helpers.submit(file_octets.sync_data, open_file)
        except RuntimeError:  # no further thread: the commit will do it
            done = Future[None]()
            done.set_result(None)
            return done

    def close_files(self, removed: Sequence[Sequence[int]]) -> list[Future[None]]:
        """Close removed files in the other threads."""
        shares = [removed[k :: _THREADS - 1] for k in range(_THREADS - 1)]
        closings: list[Future[None]] = []
        for share in filter(None, shares):
            # Without a further thread the work waits for the next one, and is done once.
            with contextlib.suppress(RuntimeError):
                closings.append(self._helpers.submit(close_each, share))
        return closings

    def beside(self, act: Callable[[], None]) -> None:
        """Call ``act`` in another thread, or not at all if there is none."""
        with contextlib.suppress(RuntimeError):
            self._helpers.submit(act)

    def shutdown(self) -> None:
        """Finish everything."""
        self._helpers.shutdown()


def _write(open_files: Sequence[int]) -> dict[Target, OSError]:
    """Have all data written; return the errors of the files that the disk refused."""
    failed = _each(linux.begin_writing, open_files)
    return failed | _each(
        linux.wait_for_writing, [each for each in open_files if each not in failed]
    )


def _each(act: Callable[[_T], None], targets: Sequence[_T]) -> dict[Target, OSError]:
    failed: dict[Target, OSError] = {}
    for target in targets:
        try:
            act(target)
        except OSError as error:
            failed[target] = error
    return failed


def _sync_each(targets: Sequence[Target]) -> dict[Target, OSError]:
    return _each(_sync, targets)


def _sync(target: Target) -> None:
    if isinstance(target, Directory):
        files.sync_directory(target)
    else:
        file_octets.sync_data(target)


def close_each(removed: Sequence[Sequence[int]]) -> None:
    """Close removed files: nothing is lost if that fails."""
    for descriptor in chain.from_iterable(removed):
        files.close(descriptor)
