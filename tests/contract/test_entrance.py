"""The entrance of mail that no receiver brings: all openers of the store read the same."""

from tests.contract.mail import Opener

from emailrelay.stage import Stage


async def test_mail_enters_ready_unless_the_entrance_is_unfiltered(opener: Opener) -> None:
    async with opener() as store:
        assert await store.entrance() is Stage.READY


async def test_entrance_is_the_same_for_every_opener_and_can_be_set_again(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        for stage in (Stage.UNFILTERED, Stage.UNFILTERED, Stage.READY, Stage.READY):
            await store.set_entrance(stage)
            assert await other.entrance() is stage
