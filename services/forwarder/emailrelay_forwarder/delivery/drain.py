"""The end of deliveries in progress: drops those without a final dot, and waits for the others."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any

from emailrelay_forwarder.delivery.delivery import Progress


class Deliveries:
    """The current delivery of each task."""

    def __init__(self) -> None:
        self._under_way: dict[asyncio.Task[Any] | None, Progress] = {}

    def begin(self, task: asyncio.Task[Any] | None) -> Progress:
        """Note that a task begins its next delivery."""
        progress = self._under_way[task] = Progress()
        return progress

    async def drain(self, tasks: AbstractSet[asyncio.Task[Any]], grace: float) -> None:
        """End the tasks; those with an unanswered final dot get ``grace`` seconds for its answer.

        Without the answer, such a message would be sent twice.
        """
        finishing = {task for task in tasks if self._must_finish(task)}
        for task in tasks - finishing:
            task.cancel()
        if finishing:
            await asyncio.wait(finishing, timeout=grace)
        for task in finishing:
            task.cancel()
        await asyncio.wait(tasks)

    def _must_finish(self, task: asyncio.Task[Any]) -> bool:
        progress = self._under_way.get(task)
        return progress is not None and (progress.at_dot or progress.settling)
