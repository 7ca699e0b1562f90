"""The wishes of operators: what the store has carried out stays so after a power cut."""

import os
from functools import partial

from emailrelay import journal_format
from emailrelay.errors import DamagedMessage, as_store_error
from emailrelay.journal import AdministratorWish, Wished
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.spool.disk import file_octets, regular_files
from emailrelay.store.spool.durable.jobs import raise_error
from emailrelay.store.spool.message import adoption, moves, rewriting
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.transition import Change

_NO_SERVICE = (Stage.FAILED, Stage.HELD)
"""The stages at which no service looks for wishes."""


async def wish(spool: Spool, message: QueueId, wished: AdministratorWish) -> bool:
    """See ``Store.wish``."""
    for stage in Stage:
        with as_store_error(f"{wished} {message}"):
            if not spool.is_at(message, stage):
                continue
            locked = moves.lock(spool, message, stage)
            if locked is None:
                await _ask(spool, message, stage, wished)
                # The claim may have ended before its holder could see the wish.
                locked = moves.lock(spool, message, stage)
                if locked is None and not spool.is_at(message, stage):
                    continue  # it was moved or removed, perhaps before the wish was there
            if locked is not None:
                with locked:
                    if _adopts(locked, wished):
                        continue  # it is at a later stage now
                    rewriting.prepare(locked)
                    await grant(locked, wished)
                # Another operator may have found the message locked meanwhile.
                await grant_late(spool, message, locked.stage)
        return True
    return False


def _adopts(locked: Locked, wished: AdministratorWish) -> bool:
    """Complete what a dead filterd began; at another stage the message might lack its content."""
    try:
        return locked.stage is Stage.UNFILTERED and adoption.roll_forward(locked)
    except PermissionError:  # another user's: the next claim does it
        return False
    except (OSError, DamagedMessage):
        if wished is not AdministratorWish.DELETE:
            raise
        return False  # nothing of it is needed


async def _ask(spool: Spool, message: QueueId, stage: Stage, wished: AdministratorWish) -> None:
    """Append a request for the holder of the claim, durably, if the envelope is there."""
    descriptor = regular_files.open_regular(spool.envelope(message, stage))
    if descriptor is None:
        return
    try:
        line = journal_format.write(Wished(at=spool.clock(), wish=wished))
        file_octets.append(descriptor, line)
        await spool.syncer.run((descriptor,), ())
    finally:
        os.close(descriptor)


async def grant(locked: Locked, wished: AdministratorWish) -> bool:
    """Carry out a wish, durably; False: there is nothing to change.

    Raises:
        OSError: the disk refuses.

    """
    change = transition.after_wish(
        wished, stage=locked.stage, history=moves.history_of(locked), now=locked.spool.clock()
    )
    if change is not None:
        await _make(locked, change)
    return change is not None


async def _make(locked: Locked, change: Change) -> None:
    spool = locked.spool
    durability = spool.durability.settlements()

    def leave(error: OSError | None) -> None:
        raise_error(error)
        moves.leave(locked, change, moves.remove)

    if change.stage is None:
        await durability.remove(locked.id, leave)
    else:
        if change.entries:
            locked.append(b"".join(map(journal_format.write, change.entries)))
        show = partial(moves.show_kept, locked, change.stage, change.due)
        await durability.keep(locked.id, change.stage, locked.descriptor, show)
    await durability.removed(spool.root, ())


async def grant_late(spool: Spool, message: QueueId, stage: Stage) -> None:
    """Carry out a wish that came while a lock ended at ``stage``, where no service looks for it.

    Others may come meanwhile.

    Raises:
        OSError: the disk refuses.

    """
    while stage in _NO_SERVICE and (locked := moves.lock(spool, message, stage)) is not None:
        with locked:
            history = moves.history_of(locked)
            wished = history.wish
            if wished is None or not transition.counts_late(wished, history):
                return
            if not await grant(locked, wished):
                return
        stage = locked.stage
