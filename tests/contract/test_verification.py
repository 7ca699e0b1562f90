"""A search for damage finds none in a store that is sound, and changes nothing."""

from pathlib import Path

import pytest
from tests.contract.conftest import MemoryOpener
from tests.contract.mail import Opener, put, stages

from emailrelay.errors import StoreUnusable
from emailrelay.stage import Stage


@pytest.mark.parametrize("contents", [False, True])
async def test_sound_store_has_no_findings(verified: Opener, *, contents: bool) -> None:
    async with verified() as store:
        first, second = await put(store), await put(store, stage=Stage.UNFILTERED)
        assert await store.hold(second)
    async with verified() as store:
        check = store.verification(contents=contents)
        assert not [found for name in await check.listing() for found in await check.look(name)]
        assert check.messages == 2
        assert await check.repair([]) == {}
        assert await stages(store) == {first: Stage.READY, second: Stage.HELD}


async def test_store_that_cannot_be_verified_says_so(tmp_path: Path) -> None:
    async with MemoryOpener(tmp_path)() as store:
        with pytest.raises(StoreUnusable, match="cannot be verified"):
            store.verification(contents=False)
