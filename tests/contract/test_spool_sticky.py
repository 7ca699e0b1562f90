"""A sticky spool, in which a member of the group has put files beside the mail of others."""

import os
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import claimed, content_of, put, stages

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")

MEMBER = 64012
BODY = b"Subject: x\r\n\r\n"


@pytest.fixture
def sticky(spool: SpoolOpener) -> SpoolOpener:
    spool.directory.mkdir()
    spool.directory.chmod(0o3770)
    return spool


def forge(spool: SpoolOpener, message: QueueId, stage: Stage) -> Path:
    """Make an envelope of a member for a message of another user."""
    path = spool.directory / names.envelope(message, stage)
    path.write_bytes(b"X-MailRelay-Format: #2821.8\r\n")
    os.chown(path, MEMBER, -1)
    return path


async def test_forged_envelope_does_not_remove_a_draft_whose_names_a_power_cut_undid(
    sticky: SpoolOpener,
) -> None:
    async with sticky() as store:
        message = await put(store, BODY)
    drafts = sticky.directory / names.DRAFTS
    (sticky.directory / names.content(message)).rename(drafts / names.content(message))
    (sticky.directory / names.envelope(message, Stage.READY)).rename(
        drafts / names.draft_envelope(message)
    )
    forge(sticky, message, Stage.HELD)
    async with sticky() as store, await claimed(store, message) as claim:
        assert await content_of(claim) == BODY


async def test_operator_reaches_a_message_beside_a_forged_envelope(sticky: SpoolOpener) -> None:
    async with sticky() as store:
        message = await put(store, BODY)
        forged = forge(sticky, message, Stage.UNFILTERED)
        assert await store.hold(message)
        forged.unlink()
        assert await stages(store) == {message: Stage.HELD}


async def test_sweep_leaves_the_copy_of_a_message_beside_a_forged_envelope(
    sticky: SpoolOpener,
) -> None:
    async with sticky() as store:
        message = await put(store, BODY)
        async with await claimed(store, message) as claim:
            copy = await claim.work_copy("busy")
            forge(sticky, message, Stage.UNFILTERED)
            async with sticky():  # its opening sweeps
                pass
            assert copy.content.read_bytes() == BODY
