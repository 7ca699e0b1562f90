"""The tokens for the settings in force, and for earlier ones as long as a message uses them."""

from weakref import WeakSet

from emailrelay.config import ForwarderSettings
from emailrelay.events.event import Report
from emailrelay.oauth.bearer import Bearer
from emailrelay.store.chooser import open_tokens


class Bearers:
    """Makes a ``Bearer`` for settings; ``close`` closes all that are in use."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._used = WeakSet[Bearer]()

    def new(self, settings: ForwarderSettings) -> Bearer:
        """Return the tokens for these settings."""
        tokens = open_tokens(settings.store_place, settings.spool_dir)
        bearer = Bearer(settings.account, tokens, report=self._report)
        self._used.add(bearer)
        return bearer

    async def close(self) -> None:
        """See ``Bearer.close``."""
        for bearer in list(self._used):
            await bearer.close()
