"""New messages that filter programs put beside their work copy."""

import asyncio
import os
import stat
from typing import NamedTuple

from emailrelay import envelope_format, message_id
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.events.store import TakenIn
from emailrelay.mail_fields import mail_fields
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.spool.disk import files, names, regular_files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.durable.jobs import NotRecorded
from emailrelay.store.spool.message import draft
from emailrelay.store.spool.message.draft import SpoolDraft
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.message.work_copy import SpoolCopy, read_left

_TRY_AGAIN = 1.0


class _Added(NamedTuple):
    """A new message that is durable, and visible at no stage yet."""

    draft: SpoolDraft
    stage: Stage
    fields: Envelope


class AddedMessages:
    """The new messages beside one copy: durable before the settlement, visible after it.

    So they are sent once, however often a settlement is refused and the filters run again. If it is
    uncertain whether the settlement has an effect, or this process dies in between, they become
    visible: some recipients may be in them only.
    """

    def __init__(self, spool: Spool) -> None:
        """Begin with none."""
        self._spool = spool
        self._added: list[_Added] = []

    async def take_in(self, copy: SpoolCopy) -> None:
        """Take in the complete pairs of new messages that programs put beside the copy.

        Raises:
            StoreError: one could not be taken in; running the programs again will bring it again.

        """
        own = {copy.content.name, copy.envelope.name}
        try:
            found = sorted(set(files.listed(copy.directory)) - own)
        except FileNotFoundError:
            return
        copy.has_others = bool(found)
        try:
            for name in found:
                entry = names.parse(name)
                if entry is not None and entry.stage in {Stage.UNFILTERED, Stage.READY}:
                    await self._take_in_pair(copy.directory / name, entry)
        except asyncio.CancelledError:
            self._withdraw()  # nothing of the settlement is written: the filters make them again
            raise

    async def _take_in_pair(self, envelope: Location, entry: names.EnvelopeName) -> None:
        content = regular_files.open_regular(
            envelope.directory / names.content(entry.id), alone=False
        )
        if content is None:
            return
        try:
            if not stat.S_ISREG(files.status_of(envelope).st_mode):
                return
            fields = envelope_format.parse(read_left(envelope)).envelope
            beginning = os.pread(content, message_id.BEGINNING, 0)
            fields = fields._replace(message_id=message_id.of_content(beginning))
            async with SpoolDraft(self._spool, fields) as added:
                offset = 0
                while chunk := os.pread(content, CHUNK, offset):
                    added.write(chunk)
                    offset += len(chunk)
                await added.secure(entry.stage)
            self._added.append(_Added(added, entry.stage, fields))
        except DamagedMessage as error:
            self._spool.trouble(f"take in {envelope.name} from a filter", error)
        except OSError as error:
            raise StoreError(f"take in {envelope.name} from a filter", error) from error
        finally:
            os.close(content)

    def after_trouble(self, error: Exception) -> None:
        """Withdraw them if the settlement has surely no effect: the filters make them again."""
        if isinstance(error, StoreError | NotRecorded):
            self._withdraw()

    def _withdraw(self) -> None:
        added, self._added = self._added, []
        for each in added:
            each.draft.withdraw()

    async def show(self) -> None:
        """Make them visible, however long the disk refuses."""
        while self._added:
            added = self._added.pop(0)
            try:
                added.draft.show(added.stage)
            except OSError as error:
                await self._complete(added, error)
            self._spool.report(TakenIn(id=added.draft.id, **mail_fields(added.fields)))

    async def _complete(self, added: _Added, error: OSError) -> None:
        trouble: OSError | None = error
        while trouble is not None:
            self._spool.trouble(f"show {added.draft.id}", trouble)
            await asyncio.sleep(_TRY_AGAIN)
            try:
                draft.complete(self._spool, added.draft.id)
                trouble = None
            except OSError as again:
                trouble = again
