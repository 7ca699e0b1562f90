"""Reads the status files of the services that should run on this host."""

from collections.abc import Sequence
from pathlib import Path

from emailrelay import service_status
from emailrelay.errors import reason_of
from emailrelay.service_health import Found

USUAL = ("receiver", "forwarder")
"""The services of a host, unless the settings name others."""
_IF_STARTED = "filterd"
"""A service that many hosts do without: it belongs to those where its file is."""


def statuses(runtime_dir: Path, monitored: Sequence[str]) -> dict[str, Found]:
    """Return the status of each service, or the reason why there is none."""
    found = {name: _status(runtime_dir, name) for name in monitored or USUAL}
    if not monitored:
        filterd = _status(runtime_dir, _IF_STARTED)
        if not isinstance(filterd, str):
            found[_IF_STARTED] = filterd
    return found


def _status(runtime_dir: Path, service: str) -> Found:
    try:
        return service_status.read(runtime_dir, service)
    except FileNotFoundError:
        return f"does not run, or runs without runtime_dir = {runtime_dir}"
    except (OSError, ValueError) as error:
        return f"its status cannot be read: {reason_of(error)}"
