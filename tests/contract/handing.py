"""Receivers and forwarders that hand messages over, for tests."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, PATIENCE, next_of

from emailrelay.ack import Ack
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.claim import Claim
from emailrelay.store.draft import Draft
from emailrelay.store.feed import Feed
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.spool.message.handed_claim import HandedClaim
from emailrelay.store.spool.wake import handing

WIDE = HistoryBounds(30, 100_000_000)
CONTENT = b"Subject: x\r\n\r\n"


def files(spool: SpoolOpener) -> list[str]:
    places = (spool.directory, spool.directory / ".new")
    return [path.name for place in places for path in place.glob("emailrelay.*")]


def socket_of(spool: SpoolOpener) -> Path:
    (found,) = (spool.directory / ".wake").glob(f"{handing.TAKES}*")
    return found


@asynccontextmanager
async def linked(receiver: Store, forwarder: Store) -> AsyncGenerator[Feed]:
    """Open a feed, and connect the receiver to it."""
    async with forwarder.feed(Stage.READY) as feed:
        await link(receiver)
        yield feed


async def link(receiver: Store) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            async with receiver.draft_for_delivery(ENVELOPE) as draft:
                if type(draft).__name__ == "HandedDraft":
                    return
            await asyncio.sleep(0)


async def committed(store: Store, content: bytes = CONTENT) -> Draft:
    draft = store.draft_for_delivery(ENVELOPE)
    draft.write(content)
    await draft.commit(Stage.READY, Ack.DELIVERED, "session-1")
    return draft


async def handed_over(store: Store, feed: Feed) -> tuple[Draft, Claim]:
    draft = await committed(store)
    claim = await next_of(feed)
    assert isinstance(claim, HandedClaim)
    return draft, claim


async def answered(draft: Draft) -> Reply | None:
    async with asyncio.timeout(PATIENCE):
        return await draft.answer(PATIENCE)
