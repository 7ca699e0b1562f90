"""New messages that filter programs put beside their work copy."""

import os
import stat

from emailrelay import envelope_format, message_id
from emailrelay.errors import DamagedMessage
from emailrelay.events.store import TakenIn
from emailrelay.mail_fields import mail_fields
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.message.draft import SpoolDraft
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.message.work_copy import SpoolCopy, read_left


async def take_in(spool: Spool, copy: SpoolCopy) -> None:
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
    for name in found:
        entry = names.parse(name)
        if entry is not None and entry.stage in {Stage.UNFILTERED, Stage.READY}:
            await _take_in_pair(spool, copy.directory / name, entry)


async def _take_in_pair(spool: Spool, envelope: Location, entry: names.EnvelopeName) -> None:
    content = files.open_regular(envelope.directory / names.content(entry.id), alone=False)
    if content is None:
        return
    try:
        if not stat.S_ISREG(files.status_of(envelope).st_mode):
            return
        fields = envelope_format.parse(read_left(envelope)).envelope
        beginning = os.pread(content, message_id.BEGINNING, 0)
        fields = fields._replace(message_id=message_id.of_content(beginning))
        async with SpoolDraft(spool, fields) as draft:
            offset = 0
            while chunk := os.pread(content, CHUNK, offset):
                draft.write(chunk)
                offset += len(chunk)
            await draft.commit(entry.stage)
        spool.report(TakenIn(id=draft.id, **mail_fields(fields)))
    except DamagedMessage as error:
        spool.trouble(f"take in {envelope.name} from a filter", error)
    finally:
        os.close(content)
