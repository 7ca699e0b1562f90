"""A search for damage in the database finds what no claim has met yet, and sets it aside."""

from tests.contract.conftest import PostgresOpener
from tests.contract.mail import put, stages

from emailrelay.queue_uuid import to_uuid
from emailrelay.stage import Stage


async def test_damage_is_found_and_set_aside(database: PostgresOpener) -> None:
    async with database() as store:
        sound, short, changed, torn = [await put(store) for _ in range(4)]
        database.run("delete from emailrelay.body where message = %s", to_uuid(short))
        database.run(
            "update emailrelay.body set octets = 'Subject: y\r\n\r\nx\r\n' where message = %s",
            to_uuid(changed),
        )
        database.run("update emailrelay.message set envelope = 'X' where id = %s", to_uuid(torn))
        quick = store.verification(contents=False)
        assert {each.id for name in await quick.listing() for each in await quick.look(name)} == {
            short,
            torn,
        }
        check = store.verification(contents=True)
        found = [each for name in await check.listing() for each in await check.look(name)]
        assert {each.id for each in found} == {short, changed, torn}
        done = await check.repair(found)
        assert set(done) == set(found)
        assert await stages(store) == {
            sound: Stage.READY,
            short: Stage.FAILED,
            changed: Stage.HELD,
            torn: Stage.FAILED,
        }
