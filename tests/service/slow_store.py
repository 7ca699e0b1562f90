"""A store whose commits wait until the test lets them go on."""

import asyncio

from tests.service.receiving import Running

from emailrelay.ack import Ack
from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.draft import Draft
from emailrelay.store.memory.store import MemoryStore


class Slow(MemoryStore):
    """A store whose commits wait until the test releases them."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type] # handed on as they came
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        draft = super().draft(envelope, message)
        commit = draft.commit

        async def wait(stage: Stage, ack: Ack, session: str, dsn: DsnRequest) -> None:
            self.begun.set()
            await self.go.wait()
            await commit(stage, ack, session, dsn)

        setattr(draft, "commit", wait)  # noqa: B010 - a method, as seen by the type checkers
        return draft


def slow(running: Running) -> Slow:
    assert isinstance(running.store, Slow)
    return running.store
