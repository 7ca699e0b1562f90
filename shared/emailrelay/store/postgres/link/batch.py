"""Small jobs done together: those that come while a batch is in progress form the next one."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeGuard, TypeVar

from emailrelay.errors import RelayError, StoreError
from emailrelay.store.postgres.link.connections import pauses
from emailrelay.store.postgres.link.trouble import Busy, Conflict, Final, Lost

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST_CONFLICTS = 5
"""Tries of an item that conflicts with another transaction, besides the first."""
CLOSING = 5.0
"""Seconds that the items in progress get when the store closes."""


class Batch(Generic[Item, Result]):
    """Runs ``run`` with up to ``most`` items at a time, one batch after the other.

    A batch that the database refuses is run again item by item, so that a bad item fails alone.
    Items that ``stay`` are run again until the database answers, however long it is unavailable. If
    it refuses one of them, that one is tried again beside the batches, so that it stops no other. A
    batch that conflicts with another transaction is run again in any case, a few times.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 100,
        weight: Callable[[Item], int] = lambda _: 1,
        stays: Callable[[Item], bool] = lambda _: False,
        tell: Callable[[StoreError], None] = lambda _: None,
    ) -> None:
        """``tell`` is called once with the reason why items wait although the database answers."""
        self._tell = tell
        self._run, self._most, self._weight, self._stays = run, most, weight, stays
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._apart = set[asyncio.Task[None]]()
        """The tries of items that the database has refused."""

    async def do(self, item: Item) -> Result:
        """Do one item with others; cancelling the wait does not undo it.

        Raises:
            StoreError: see ``run``.

        """
        return await asyncio.shield(self.put(item))

    def put(self, item: Item) -> asyncio.Future[Result]:
        """Do one item with others; return its result to come. Errors: see ``do``."""
        waiting = _Waiting[Item, Result](item)
        self._waiting.append(waiting)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._work())
        return waiting.done

    async def close(self) -> None:
        """Finish all items within ``CLOSING`` seconds; those left fail."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                while under_way := self._under_way():
                    await asyncio.wait(under_way)
        left = tuple(self._under_way())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _under_way(self) -> "set[asyncio.Task[None]]":
        running = self._running
        return self._apart if running is None or running.done() else {running, *self._apart}

    async def _work(self) -> None:
        """Run batches until no item waits."""
        pause, reported = pauses(), False
        try:
            while self._waiting:
                batch = self._next()
                try:
                    await self._together(batch)
                    pause, reported = pauses(), False
                except StoreError as error:
                    if self._stay(batch, error):
                        busy = isinstance(error, Busy) and not isinstance(error, Conflict)
                        if busy and not reported:
                            self._tell(error)
                            reported = True
                        await asyncio.sleep(next(pause))
                except BaseException:
                    self._waiting.extendleft(reversed(batch))
                    raise
        except BaseException as error:
            ended = error if isinstance(error, Exception) else _STOPPED
            for each in self._waiting:
                each.fail(ended)
            self._waiting.clear()
            raise

    def _next(self) -> "list[_Waiting[Item, Result]]":
        batch = [self._waiting.popleft()]
        weight = self._weight(batch[0].item)
        while self._waiting:
            weight += self._weight(self._waiting[0].item)
            if weight > self._most:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _together(self, batch: "Sequence[_Waiting[Item, Result]]") -> None:
        try:
            results = await self._run([each.item for each in batch])
        except (Lost, Busy):
            raise
        except RelayError as error:
            if len(batch) == 1:
                self._refused(batch[0], error)
                return
            for each in batch:
                await self._alone(each)
            return
        for each, result in zip(batch, results, strict=True):
            each.succeed(result)

    async def _alone(self, waiting: "_Waiting[Item, Result]") -> None:
        try:
            (result,) = await self._run([waiting.item])
        except (Lost, Busy) as error:
            self._stay([waiting], error)
        except RelayError as error:
            self._refused(waiting, error)
        else:
            waiting.succeed(result)

    def _refused(self, waiting: "_Waiting[Item, Result]", error: RelayError) -> None:
        """Fail an item that the database refuses; one that stays is tried again for ever."""
        if not self._stays(waiting.item) or not _may_pass(error):
            waiting.fail(error)
            return
        task = asyncio.create_task(self._do_apart(waiting))
        self._apart.add(task)
        task.add_done_callback(self._apart.discard)
        self._tell(error)

    async def _do_apart(self, waiting: "_Waiting[Item, Result]") -> None:
        try:
            for pause in pauses():
                await asyncio.sleep(pause)
                try:
                    (result,) = await self._run([waiting.item])
                except RelayError as error:
                    if not _may_pass(error):
                        raise
                else:
                    waiting.succeed(result)
                    return
        except Exception as error:  # noqa: BLE001 - the waiting caller gets it
            waiting.fail(error)
        except BaseException:
            waiting.fail(_STOPPED)
            raise

    def _stay(self, batch: "Sequence[_Waiting[Item, Result]]", error: StoreError) -> bool:
        """Keep the items that stay for another try; fail the others; return whether any stays."""
        staying = [each for each in batch if self._again(each, error)]
        for each in batch:
            if each not in staying:
                each.fail(error)
        self._waiting.extendleft(reversed(staying))
        return bool(staying)

    def _again(self, waiting: "_Waiting[Item, Result]", error: StoreError) -> bool:
        """Return whether an item gets another try."""
        if isinstance(error, Conflict) and waiting.conflicts < _MOST_CONFLICTS:
            waiting.conflicts += 1
            return True
        return isinstance(error, (Lost, Busy)) and self._stays(waiting.item)


def _may_pass(error: RelayError) -> TypeGuard[StoreError]:
    """Return whether the same work may succeed later."""
    return isinstance(error, StoreError) and not isinstance(error, Final)


_STOPPED = StoreError("finish", "the service stopped before the database answered")


class _Waiting(Generic[Item, Result]):
    """An item and its result to come."""

    __slots__ = ("conflicts", "done", "item")

    def __init__(self, item: Item) -> None:
        self.conflicts = 0
        self.item = item
        self.done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def succeed(self, result: Result) -> None:
        """Set the result."""
        if not self.done.done():
            self.done.set_result(result)

    def fail(self, error: Exception) -> None:
        """Set the error."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # its waiter may have been cancelled
