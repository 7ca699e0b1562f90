"""A message whose content is damaged in the database becomes failed, with the reason, once."""

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import claimed, content_of, history_of, put, stages

from emailrelay.events.store import SetAside
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK

LARGE = 2 * CHUNK + 1


def lose_chunk(database: PostgresOpener, message: QueueId, number: int) -> None:
    uuid = to_uuid(message)
    database.run("delete from emailrelay.body where message = %s and n = %s", uuid, number)


@pytest.mark.parametrize(
    ("size", "lost", "reason"),
    [
        (100, 0, "content: missing"),
        (LARGE, 1, f"content: {CHUNK + 1} octets, {LARGE} were accepted"),
    ],
)
@pytest.mark.parametrize("stage", [Stage.UNFILTERED, Stage.READY])
async def test_message_without_its_content_fails(
    database: PostgresOpener, size: int, lost: int, reason: str, stage: Stage
) -> None:
    async with database() as store:
        message = await put(store, bytes(size), stage)
        lose_chunk(database, message, lost)
        assert await store.claim(stage, message) is None
        assert await stages(store) == {message: Stage.FAILED}
        assert SetAside(id=message, reason=reason) in database.reports
        failed = (await history_of(store, message)).failed
        assert failed is not None
        assert reason in str(failed.reason)
        failure = await store.failure(message)
        assert failure is not None
        async with failure:
            assert len(await failure.beginning(size)) == size - min(size, CHUNK)


async def test_damaged_message_that_an_operator_releases_is_sent_as_it_is(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        message = await put(store, bytes(LARGE))
        lose_chunk(database, message, 1)
        assert await store.claim(Stage.READY, message) is None
        assert await store.retry(message)
        async with await claimed(store, message) as claim:
            assert (claim.size, len(await content_of(claim))) == (CHUNK + 1, CHUNK + 1)
            await claim.settle(Done())
        assert await stages(store) == {}
