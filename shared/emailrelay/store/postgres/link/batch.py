"""Small works done together: what comes while one batch is under way goes with the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from emailrelay.errors import RelayError
from emailrelay.store.postgres.link.trouble import Lost

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batch(Generic[Item, Result]):
    """Runs ``run`` with up to ``most`` items at a time, one batch after the other.

    A batch that the database refuses is run again item by item, so that a bad item fails alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 100,
        weight: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._run, self._most, self._weight = run, most, weight
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def do(self, item: Item) -> Result:
        """Do one item with others; cancelling the wait does not undo it.

        Raises:
            StoreError: see ``run``.

        """
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._work())
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Finish all items."""
        while self._running is not None and not self._running.done():
            await asyncio.wait((self._running,))

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next()
            try:
                await self._together(batch)
            except BaseException as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                        done.exception()  # its waiter may have been cancelled
                if not isinstance(error, Exception):
                    raise

    def _next(self) -> list[tuple[Item, "asyncio.Future[Result]"]]:
        batch, weight = [self._waiting.popleft()], 0
        weight = self._weight(batch[0][0])
        while self._waiting:
            weight += self._weight(self._waiting[0][0])
            if weight > self._most:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _together(self, batch: Sequence[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._run([item for item, _ in batch])
        except Lost:
            raise
        except RelayError:
            if len(batch) == 1:
                raise
            await self._one_by_one(batch)
            return
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():
                done.set_result(result)

    async def _one_by_one(self, batch: Sequence[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        for item, done in batch:
            try:
                (result,) = await self._run([item])
            except RelayError as error:
                done.set_exception(error)
                done.exception()
            else:
                done.set_result(result)
