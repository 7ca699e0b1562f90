"""Checks whether the filters of a chain can run."""

from collections.abc import Iterator, Sequence

from emailrelay.config.findings import SettingFinding
from emailrelay.filters.spec import Filter, MilterFilter, NetFilter, SpamFilter, unstartable
from emailrelay.service.checks import servers


def check(setting: str, chain: Sequence[Filter]) -> Iterator[SettingFinding]:
    """Yield the filters that cannot do their work, and the servers that cannot be reached now."""
    for spec, trouble in unstartable(chain).items():
        yield SettingFinding(setting, f"{spec}: {trouble}; mail that needs it waits")
    places = [one.place for one in chain if isinstance(one, NetFilter | SpamFilter)]
    yield from servers.services(setting, places)
    milters = [one.place for one in chain if isinstance(one, MilterFilter)]
    yield from servers.milters(setting, milters)
