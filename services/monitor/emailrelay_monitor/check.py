"""The check of the monitor's settings: what would stop it or hurt its work."""

from collections.abc import Iterator
from importlib.util import find_spec

from emailrelay import extras, runtime_dir
from emailrelay.config import MonitorSettings
from emailrelay.config.findings import CheckScope, SettingFinding, warning
from emailrelay.service.checks import addresses, store

_NO_DIRECTORY = (
    'runtime_dir is not set: set it for all services, as in runtime_dir = "/run/emailrelay"'
)
_EXTRA = ("h11", "prometheus_client")


def check(settings: MonitorSettings, scope: CheckScope) -> Iterator[SettingFinding]:
    """Yield every finding about the settings."""
    yield from startable(settings)
    if scope.ports:
        yield from addresses.tcp(
            settings.monitor_interface, settings.monitor_port, prefix="monitor_"
        )
    yield from addresses.unix(settings.monitor_interface, setting="monitor_interface")
    yield from _runtime_dir(settings)
    if scope.store:
        yield from store.check(settings, fallback=settings.store_fallback)


def _runtime_dir(settings: MonitorSettings) -> Iterator[SettingFinding]:
    if settings.runtime_dir is None:
        return
    if (trouble := runtime_dir.obstacle(settings.runtime_dir)) is not None:
        yield warning("runtime_dir", f"{settings.runtime_dir}: {trouble}")


def startable(settings: MonitorSettings) -> Iterator[SettingFinding]:
    """Yield the findings that stop the monitor."""
    if settings.runtime_dir is None:
        yield SettingFinding("runtime_dir", _NO_DIRECTORY)
    for name in _EXTRA:
        if find_spec(name) is None:
            yield SettingFinding("", f"{name} is missing: {extras.advice('metrics')}")
