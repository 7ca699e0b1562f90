"""Holds the store open for changes and for the history; opens it when it is needed first."""

import asyncio
from collections.abc import Callable
from typing import Self

from emailrelay.errors import RelayError, StoreError
from emailrelay.store.base import Store

_PATIENCE = 10.0
"""Seconds that an action waits for the store to open."""


class StoreHolder:
    """An ``async with`` block. A store that was unavailable is tried again by the next action."""

    def __init__(self, opens: Callable[[], Store]) -> None:
        self._opens = opens
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[Store] | None = None

    async def __aenter__(self) -> Self:
        """Begin the block; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the store."""
        self._end.set()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def get(self) -> Store:
        """Return the open store.

        Raises:
            StoreError, StoreUnusable: it cannot be opened now.

        """
        if self._opened is None or self._task is None or self._task.done():
            opened = asyncio.get_running_loop().create_future()
            self._opened = opened
            self._task = asyncio.create_task(self._hold(opened))
        try:
            return await asyncio.wait_for(asyncio.shield(self._opened), _PATIENCE)
        except TimeoutError:
            raise StoreError("open the store", f"no answer within {_PATIENCE:g} s") from None

    async def _hold(self, opened: "asyncio.Future[Store]") -> None:
        # One task enters and leaves the block: the tasks of pages end before.
        try:
            async with self._opens() as store:
                opened.set_result(store)
                await self._end.wait()
        except RelayError as error:
            if not opened.done():
                opened.set_exception(error)
                opened.exception()  # the page that waited may have gone
