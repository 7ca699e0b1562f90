"""Reads the queue in a few threads, so that a store that hangs does not stop the console."""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from emailrelay.errors import RelayError, StoreError
from emailrelay.store.queue_view import QueueView

_T = TypeVar("_T")
_THREADS = 2
_MOST_WAITING = 64
_PATIENCE = 10.0
"""Seconds that a page waits for its data."""
_KEPT = 30.0
"""Seconds for which a thread keeps a view open: a database that was unavailable may be back."""


class ReaderBusy(RelayError):
    """Too many pages wait for the store."""


@dataclass(slots=True)
class _Task:
    work: Callable[[QueueView], Any]
    done: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class QueueReader:
    """The threads, each with a view of its own. They are daemons: none delays the end."""

    def __init__(self, opens: Callable[[], QueueView]) -> None:
        self.opens = opens
        """Opens a view for work that takes long, which the threads must not do."""
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._waiting = 0
        for number in range(_THREADS):
            name = f"read the queue {number}"
            threading.Thread(target=self._run, daemon=True, name=name).start()

    async def read(self, work: Callable[[QueueView], _T], patience: float = _PATIENCE) -> _T:
        """Return the result of ``work`` in one of the threads.

        Raises:
            ReaderBusy: too many others wait.
            StoreError, StoreUnusable, OSError: the store cannot be read now.

        """
        if self._waiting >= _MOST_WAITING:
            raise ReaderBusy("too many pages wait for the store; try again later")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self._waiting += 1
        done.add_done_callback(self._answered)
        self._tasks.put(_Task(work, done, loop))
        try:
            async with asyncio.timeout(patience):
                return await done
        except TimeoutError:
            raise StoreError("read the queue", f"no answer within {patience:g} s") from None

    def _answered(self, _done: object) -> None:
        self._waiting -= 1

    def close(self) -> None:
        """Let the threads end after their present work."""
        for _ in range(_THREADS):
            self._tasks.put(None)

    def _run(self) -> None:
        kept: _KeptView | None = None
        while (task := self._tasks.get()) is not None:
            if task.done.cancelled():  # its page has given up
                continue
            result, error = None, None
            try:
                kept = self._fresh(kept)
                result = task.work(kept.view)
            except BaseException as caught:  # noqa: BLE001 -- it is raised in the caller
                error = caught
                _close(kept)
                kept = None
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                task.loop.call_soon_threadsafe(_settle, task.done, result, error)
        _close(kept)

    def _fresh(self, kept: "_KeptView | None") -> "_KeptView":
        now = time.monotonic()
        if kept is not None and (kept.view.missing is not None or now > kept.until):
            _close(kept)
            kept = None
        return kept or _KeptView(self.opens(), now + _KEPT)


@dataclass(slots=True)
class _KeptView:
    view: QueueView
    until: float


def _close(kept: _KeptView | None) -> None:
    if kept is not None:
        with contextlib.suppress(Exception):  # it was of no use any more
            kept.view.close()


def _settle(done: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
