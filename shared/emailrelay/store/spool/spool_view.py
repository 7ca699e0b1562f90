"""The queue in a spool directory, read from its files without opening a store."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from emailrelay import envelope_format, journal_format
from emailrelay.errors import DamagedMessage, reason_of
from emailrelay.queue_id import QueueId, arrival, arrived_at
from emailrelay.stage import Stage
from emailrelay.store.queue_view import Listed, QueueEntry, QueueView, StageCount
from emailrelay.store.spool.disk import files, names, regular_files
from emailrelay.store.spool.disk.directory import Directory

_CHUNK = 256 * 1024


class SpoolView(QueueView):
    """See ``QueueView``."""

    def __init__(self, root: str) -> None:
        self._root = Directory(root, makes=False)

    def listing(
        self, stages: Sequence[Stage] = tuple(Stage), ids: Collection[QueueId] = ()
    ) -> Iterator[Listed]:
        """See ``QueueView.listing``."""
        if ids:
            self._root.renew()
            for message in sorted(filter(names.is_id, ids), key=arrival):
                listed = self._find(message)
                if listed is not None and listed.stage in stages:
                    yield listed
            return
        named = map(names.parse, files.listed(self._root))
        found = [entry for entry in named if entry is not None and entry.stage in stages]
        for entry in sorted(found, key=lambda entry: arrival(entry.id)):
            listed = self._listed(entry)
            if listed is not None:
                yield listed

    def _find(self, message: QueueId) -> Listed | None:
        # Twice: it may move meanwhile, to a stage that was looked at before.
        for stage in (*Stage, *Stage):
            listed = self._listed(names.EnvelopeName(message, stage))
            if listed is not None:
                return listed
        return None

    def _since(self, entry: names.EnvelopeName) -> float | None:
        try:
            return files.status_of(self._root / names.envelope(entry.id, entry.stage)).st_mtime
        except FileNotFoundError:
            return None

    def _listed(self, entry: names.EnvelopeName) -> Listed | None:
        since = self._since(entry)
        if since is None:
            return None
        try:
            size = files.status_of(self._root / names.content(entry.id)).st_size
        except FileNotFoundError:
            size = 0
        return Listed(id=entry.id, stage=entry.stage, since=since, size=size)

    def counts(self, now: float, *, names_only: bool = False) -> Iterable[StageCount]:
        """See ``QueueView.counts``."""
        return self._count_names() if names_only else super().counts(now)

    def _count_names(self) -> Iterable[StageCount]:
        numbers, oldest = Counter[Stage](), dict[Stage, float]()
        with files.scanned(self._root) as found:
            for item in found:
                # Half of the names are contents.
                if item.name.endswith(".content") or (entry := names.parse(item.name)) is None:
                    continue
                since = arrived_at(entry.id) or self._since(entry)
                if since is not None:
                    numbers[entry.stage] += 1
                    oldest[entry.stage] = min(since, oldest.get(entry.stage, since))
        return [
            StageCount(stage, later=False, messages=number, octets=0, oldest=oldest[stage])
            for stage, number in numbers.items()
        ]

    def entries(self, listed: Iterable[Listed]) -> Iterator[QueueEntry]:
        """See ``QueueView.entries``."""
        for message in listed:
            entry = self._entry(message)
            if entry is None and (moved := self._find(message.id)) is not None:
                entry = self._entry(moved)
            if entry is not None:
                yield entry

    def _entry(self, message: Listed) -> QueueEntry | None:
        """Read an envelope and its journal; None: the message is not at this stage."""
        path = self._root / names.envelope(message.id, message.stage)
        try:
            octets = regular_files.read_present(path)
            if octets is None:
                return None
            file = envelope_format.parse(octets)
        except (DamagedMessage, OSError) as error:
            return QueueEntry(message, None, (), reason_of(error, str(path)))
        return QueueEntry(message, file.envelope, journal_format.parse(file.tail))

    def content(self, message: QueueId) -> Iterator[bytes] | None:
        """See ``QueueView.content``."""
        if not names.is_id(message):
            return None
        descriptor = regular_files.open_regular(self._root / names.content(message), alone=False)
        return None if descriptor is None else _chunks(descriptor)

    def free(self) -> tuple[int, int] | None:
        """See ``QueueView.free``: the room for users other than root."""
        status = os.statvfs(self._root.fileno())
        used = status.f_blocks - status.f_bfree
        return status.f_bavail * status.f_frsize, (used + status.f_bavail) * status.f_frsize

    def close(self) -> None:
        """See ``QueueView.close``."""
        self._root.close()


def _chunks(descriptor: int) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            yield chunk
