"""The check of filterd's settings: what would stop it or hurt its work."""

from collections.abc import Iterator

from emailrelay.config import FilterdSettings
from emailrelay.config.findings import CheckScope, SettingFinding
from emailrelay.service.checks import filters, store


def check(settings: FilterdSettings, scope: CheckScope) -> Iterator[SettingFinding]:
    """Yield every finding about the settings."""
    yield from filters.check("filter", settings.chain)
    if scope.store:
        yield from store.check(settings)
