"""The messages of a spool for ``mailq``, read without opening a store."""

import os
from collections.abc import Iterator

from emailrelay import envelope_format, journal
from emailrelay.errors import DamagedMessage, reason_of
from emailrelay.journal import History
from emailrelay.store.queue_entry import QueueEntry
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory, Location


def entries(root: str) -> Iterator[QueueEntry]:
    """Yield the messages, in the order of their arrival; those that leave meanwhile are left out.

    Raises:
        OSError: the spool cannot be read.

    """
    spool = Directory(root, makes=False)
    found = [entry for name in files.listed(spool) if (entry := names.parse(name))]
    for entry in sorted(found, key=_arrival):
        path = spool / names.envelope(entry.id, entry.stage)
        try:
            octets = _read(path)
            if octets is None:
                continue
            file = envelope_format.parse(octets)
        except (DamagedMessage, OSError) as error:
            problem = reason_of(error, str(path))
            yield QueueEntry(entry.id, entry.stage, None, History(), problem)
        else:
            yield QueueEntry(entry.id, entry.stage, file.envelope, journal.history(file.tail))


def _arrival(entry: names.EnvelopeName) -> tuple[int, ...]:
    return tuple(int(group) if group.isdecimal() else 0 for group in entry.id.split("."))


def _read(path: Location) -> bytes | None:
    """Read an envelope file; None: it has left meanwhile.

    Raises:
        OSError: it cannot be read, or is no regular file.

    """
    descriptor = files.open_regular(path)
    if descriptor is None:
        if files.is_there(path):
            raise OSError("no regular file")
        return None
    try:
        return files.read_all(descriptor)
    finally:
        os.close(descriptor)
