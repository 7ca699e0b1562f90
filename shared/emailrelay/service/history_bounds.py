"""Sets the bounds of the history in the store; trouble with it stops no service."""

from emailrelay.config.options import HistoryOptions
from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.store.base import Store
from emailrelay.store.mail_history import HistoryBounds


async def keep_history(store: Store, settings: HistoryOptions, report: Report) -> None:
    """Have the store keep the history that the settings ask for."""
    try:
        await store.history().keep(HistoryBounds(settings.history_days, settings.history_size))
    except StoreError as error:
        report(StoreTrouble(doing="set the bounds of the history", reason=str(error)))
