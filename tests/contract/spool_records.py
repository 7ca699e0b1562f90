"""Records of the history of a spool, and the files that they are in."""

from pathlib import Path

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, OK, attempt, claimed, put

from emailrelay import history_record
from emailrelay.envelope import Address
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage, past
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.store.base import Store
from emailrelay.store.mail_history import HistoryBounds

WIDE = HistoryBounds(30, 100_000_000)


DAY = 86400.0


MIDDAY = 1795953600.0
"""2026-11-29, 12 o'clock UTC."""


async def leave(store: Store) -> QueueId:
    """Let a message come and be delivered."""
    message = await put(store)
    async with await claimed(store, message) as claim:
        await claim.settle(Done(attempt(1.0, ann=OK)))
    return message


async def ids(store: Store, text: str = "bob") -> list[QueueId]:
    return [found.id async for found in store.history().find(HistoryQuery(text=text))]


async def has(store: Store, message: QueueId) -> bool:
    return bool([found async for found in store.history().find(HistoryQuery(id=message))])


def directory(spool: SpoolOpener) -> Path:
    return spool.directory / ".history"


def names(spool: SpoolOpener) -> list[str]:
    return sorted(path.name for path in directory(spool).glob("*.jsonl"))


def record(number: int, ended: float, *, size: int = 0) -> PastMessage:
    """Make the record of a message that arrived 5 seconds before its end."""
    message = QueueId(f"{int((ended - 5) * 1000)}.7.{number}")
    envelope = ENVELOPE._replace(sender=Address(f"s{number}@x.test"), client="c" * size)
    return past(message, envelope, [attempt(ended, ann=OK)], now=ended, end=MessageEnd.DELIVERED)


def fill(spool: SpoolOpener, records: list[PastMessage], name: str = "2026-11-29.jsonl") -> None:
    (directory(spool) / name).write_bytes(b"".join(map(history_record.write, records)))
