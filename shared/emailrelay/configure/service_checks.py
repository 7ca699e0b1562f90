"""Runs the check of each service, as the user of the services, and collects the findings."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from emailrelay.config import ConsoleSettings, MonitorSettings, ReceiverSettings, flags
from emailrelay.config.findings import FindingLevel, SettingFinding, with_source
from emailrelay.config.reading import collect
from emailrelay.configure.service_user import ServiceUser
from emailrelay.errors import ConfigError
from emailrelay.service.checks import addresses

_PATIENCE = 120.0
"""Seconds for all checks."""
_LATE = f"it did not end within {_PATIENCE:g} s"


@dataclass(frozen=True, slots=True)
class ServiceFinding:
    """A finding, and the services that made it."""

    services: tuple[str, ...]
    finding: SettingFinding

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON object (docs/settings.md)."""
        return {
            "services": list(self.services),
            "level": self.finding.level,
            "setting": self.finding.setting or None,
            "from": self.finding.source or None,
            "text": self.finding.text,
        }


def check_services(
    services: Sequence[str], config: str | None, run_as: ServiceUser | None
) -> list[ServiceFinding]:
    """Return the findings of all services, the problems first."""
    try:
        checked = _run(services, config, run_as)
    except OSError as error:
        user = "" if run_as is None else f" as user {run_as.name}"
        raise ConfigError(
            [
                (
                    f"{sys.executable}: cannot be run{user}: {error.strerror}; "
                    "install this program where that user can run it, "
                    "or name the user of the services with --user"
                )
            ]
        ) from error
    found: dict[SettingFinding, list[str]] = {}
    for name in services:
        made = [*_findings(name, checked[name]), *_ports(name, config)]
        for finding in made:
            found.setdefault(finding, []).append(name)
    listed = [ServiceFinding(tuple(names), finding) for finding, names in found.items()]
    return sorted(listed, key=lambda each: each.finding.level is not FindingLevel.PROBLEM)


class _Checked(NamedTuple):
    """The output of the check of one service."""

    said: str
    complaints: str


def _run(
    services: Sequence[str], config: str | None, run_as: ServiceUser | None
) -> dict[str, _Checked]:
    """Return the output of each check that has ended in time."""
    named = [] if config is None else [f"--config={Path(config).absolute()}"]
    module = "emailrelay.configure.check_process"
    with subprocess.Popen(  # noqa: S603 -- a module of ours, and no shell
        [*(sys.executable, "-P", "-m", module), ",".join(services), *named],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd="/",
        user=None if run_as is None else run_as.user,
        group=None if run_as is None else run_as.group,
        extra_groups=None if run_as is None else run_as.groups,
    ) as process:
        try:
            said, complaints = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            said, complaints = process.communicate()[0], _LATE
    checked = {name: _Checked("", complaints) for name in services}
    for line in said.splitlines():
        with suppress(ValueError, KeyError):
            found = json.loads(line)
            checked[found["service"]] = _Checked(found["said"], found["complaints"])
    return checked


def _findings(service: str, checked: _Checked) -> Iterator[SettingFinding]:
    try:
        report: Any = json.loads(checked.said)
        for each in report["findings"]:
            level = FindingLevel(each["level"])
            yield SettingFinding(each["setting"], each["text"], level, each["source"])
    except (ValueError, KeyError, TypeError):
        *_, last = checked.complaints.splitlines() or ["it said nothing"]
        yield SettingFinding("", f"the check of {service} failed: {last}")


def _ports(service: str, config: str | None) -> Iterator[SettingFinding]:
    """Try the ports of a service with the rights of this process.

    The service manager gives the receiver the right to use port 25, which its user does not have.
    """
    argv = [] if config is None else ["--config", config]
    if service == ReceiverSettings.service:
        receiver = collect(ReceiverSettings, flags.parse(ReceiverSettings, argv), os.environ)
        if receiver.rest is not None and not receiver.wrong & {"interface", "port"}:
            for finding in addresses.tcp(receiver.rest.interface, receiver.rest.port):
                yield with_source(finding, receiver.places)
    elif service == MonitorSettings.service:
        monitor = collect(MonitorSettings, flags.parse(MonitorSettings, argv), os.environ)
        if (rest := monitor.rest) is not None:
            for finding in addresses.tcp(
                rest.monitor_interface, rest.monitor_port, prefix="monitor_"
            ):
                yield with_source(finding, monitor.places)
    elif service == ConsoleSettings.service:
        console = collect(ConsoleSettings, flags.parse(ConsoleSettings, argv), os.environ)
        if (of_console := console.rest) is not None:
            for finding in addresses.tcp(
                of_console.console_interface, of_console.console_port, prefix="console_"
            ):
                yield with_source(finding, console.places)


def is_used(service: str, config: str | None) -> bool:
    """Tell whether the settings are meant for a service: monitor and console are optional."""
    argv = [] if config is None else ["--config", config]
    if service == MonitorSettings.service:
        monitor = collect(MonitorSettings, flags.parse(MonitorSettings, argv), os.environ)
        return "runtime_dir" in monitor.values
    if service == ConsoleSettings.service:
        console = collect(ConsoleSettings, flags.parse(ConsoleSettings, argv), os.environ)
        return "console_auth" in console.values
    return True
