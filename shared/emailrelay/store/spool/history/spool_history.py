"""The history of a spool, for those who ask."""

from collections.abc import AsyncIterator, Callable

from emailrelay.errors import as_store_error
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import EndedMessage, PastMessage
from emailrelay.store.mail_history import (
    NO_HISTORY,
    HistoryBounds,
    MailHistory,
    SearchStep,
)
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.spool.history import day_files
from emailrelay.store.spool.history.history_search import ends, search
from emailrelay.store.spool.history.history_writer import HistoryWriter


class SpoolHistory(MailHistory):
    """See ``MailHistory``."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._writer = writer

    async def keep(self, bounds: HistoryBounds) -> None:
        """See ``MailHistory.keep``."""
        with as_store_error(f"set the bounds of {self._writer.directory}"):
            await in_thread(self._writer.keep, bounds)

    async def bounds(self) -> HistoryBounds:
        """See ``MailHistory.bounds``."""
        with as_store_error(f"read the bounds of {self._writer.directory}"):
            return day_files.read_bounds(self._writer.directory) or NO_HISTORY

    async def find(
        self, wanted: HistoryQuery, tell: Callable[[SearchStep], None] = lambda _step: None
    ) -> AsyncIterator[PastMessage]:
        """See ``MailHistory.find``."""
        self._writer.write_gathered()
        pieces = search(self._writer.directory, wanted)
        with as_store_error(f"read {self._writer.directory}"):
            while (piece := await in_thread(next, pieces, None)) is not None:
                tell(piece.step)
                for message in piece.found:
                    yield message

    async def ends(self, since: float) -> AsyncIterator[EndedMessage]:
        """See ``MailHistory.ends``."""
        self._writer.write_gathered()
        pieces = ends(self._writer.directory, since)
        with as_store_error(f"read {self._writer.directory}"):
            while (piece := await in_thread(next, pieces, None)) is not None:
                for ended in piece:
                    yield ended
