"""A message that was taken over from another store stays, also if its id was in this spool before.

The log may have a record that the message of this id is gone, and a replay would remove it again.
So the log gets a later record.
"""

import errno
import os

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import regular_files
from emailrelay.store.spool.message import moves, wishes
from emailrelay.store.spool.message.spool import Spool


async def record(spool: Spool, message: QueueId, *, synced: bool) -> None:
    """Record a message that is at HELD, if there is a log.

    ``synced``: True: its files and their names are synced. False: an earlier process left them, and
    they are synced now.

    Raises:
        OSError: the disk refuses, or another process works on the message.

    """
    if synced and not spool.log.in_use():
        return
    locked = moves.lock(spool, message, Stage.HELD)
    if locked is None:
        path = str(spool.envelope(message, Stage.HELD))
        raise BlockingIOError(errno.EAGAIN, "another process works on the message; try again", path)
    with locked:
        if not synced:
            await _sync(locked)
        settlements = spool.durability.settlements()
        await settlements.keep(message, Stage.HELD, locked.descriptor)
    await wishes.grant_late(spool, message, Stage.HELD)


async def _sync(locked: moves.Locked) -> None:
    content = regular_files.open_regular(locked.content)
    if content is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(locked.content))
    try:
        await locked.spool.syncer.run((content, locked.descriptor), (locked.spool.root,))
    finally:
        os.close(content)
