"""Finds the messages of a trace: those in the store, then those of its history, each once."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage, past
from emailrelay.queue_id import QueueId, arrival
from emailrelay.store.base import Store
from emailrelay.store.mail_history import SearchStep


@dataclass(slots=True, kw_only=True)
class TraceSearch:
    """One search. ``tell`` is called with the progress."""

    store: Store
    wanted: HistoryQuery
    now: float
    most: int
    """The messages to find at most, the newest; 0: all."""
    tell: Callable[[SearchStep], None]
    looked_at: int = 0
    """The messages in the store that were examined."""
    damaged: dict[QueueId, str] = field(default_factory=dict[QueueId, str])
    """The messages in the store that cannot be read, with the reason."""
    unread: dict[str, str] = field(default_factory=dict[str, str])
    """The places of the history of which a part was passed over, with the reason."""
    trouble: StoreError | None = None
    """The reason why there may be more messages, if there is one."""
    cut: bool = False
    """True if there are more than ``most``."""

    async def run(self) -> AsyncGenerator[PastMessage]:
        """Yield what is in the store, newest first; then what has left it, newest end first.

        A message in the store is not a past one, though the history may have a record of it: a
        crash, or a move, has brought it back.
        """
        seen = set[QueueId]()
        async with aclosing(self._all()) as found:
            async for message in found:
                if message.id in seen:
                    continue
                if self.most and len(seen) == self.most:
                    self.cut = True
                    return
                seen.add(message.id)
                yield message

    async def _all(self) -> AsyncGenerator[PastMessage]:
        async with aclosing(self._live()) as found:
            async for message in found:
                yield message
        try:
            async for message in self.store.history().find(self.wanted, self._hear):
                yield message
        except StoreError as error:
            self.trouble = error

    def _hear(self, step: SearchStep) -> None:
        if step.unread:
            self.unread[step.place] = step.unread
        self.tell(step)

    async def _live(self) -> AsyncGenerator[PastMessage]:
        """Yield one at a time: a message may have 100,000 recipients."""
        try:
            if self.wanted.id is not None:
                ids = [self.wanted.id]
            else:
                ids = [listed.id async for listed in self.store.listing()]
            ids.sort(key=arrival, reverse=True)
            for number, message in enumerate(ids, 1):
                self.tell(SearchStep(place="messages in the store", done=number, total=len(ids)))
                found = await self._read(message)
                if found is not None and self.wanted.matches(found):
                    yield found
        except StoreError as error:
            self.trouble = error

    async def _read(self, message: QueueId) -> PastMessage | None:
        try:
            read = await self.store.journal(message)
        except DamagedMessage as error:
            self.damaged[message] = str(error)
            return None
        if read is None:
            return None
        self.looked_at += 1
        stage, envelope, entries = read
        return past(message, envelope, entries, now=self.now, end=None, stage=stage)
