"""Checks whether the filters of a chain can run."""

from collections.abc import Iterator, Sequence

from emailrelay.config.findings import SettingFinding
from emailrelay.filters.spec import MilterFilter, NetFilter, SpamFilter, parse_chain, unstartable
from emailrelay.service.checks import servers


def check(setting: str, specs: Sequence[str]) -> Iterator[SettingFinding]:
    """Yield the programs that cannot be run, and the servers that cannot be reached now."""
    chain = parse_chain(specs)
    for path, trouble in unstartable(chain).items():
        yield SettingFinding(setting, f"{path}: {trouble}; mail that needs it waits")
    places = [one.place for one in chain if isinstance(one, NetFilter | SpamFilter)]
    yield from servers.services(setting, places)
    milters = [one.place for one in chain if isinstance(one, MilterFilter)]
    yield from servers.milters(setting, milters)
