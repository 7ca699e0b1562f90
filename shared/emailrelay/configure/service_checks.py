"""Runs the check of each service, as the user of the services, and collects the findings."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emailrelay.config import ConsoleSettings, MonitorSettings, ReceiverSettings, flags
from emailrelay.config.findings import FindingLevel, SettingFinding, placed
from emailrelay.config.reading import collect
from emailrelay.configure.service_user import ServiceUser
from emailrelay.errors import ConfigError
from emailrelay.service.checks import addresses

_PATIENCE = 120.0
"""Seconds for one check."""


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
        # All at once: each check may wait for servers.
        running = {name: _start(name, config, run_as) for name in services}
    except OSError as error:
        user = "" if run_as is None else f" as user {run_as.name}"
        raise ConfigError(
            [
                (
                    f"{sys.executable}: cannot be run{user}: {error.strerror}; install this program "
                    "where that user can run it, or name the user of the services with --user"
                )
            ]
        ) from error
    found: dict[SettingFinding, list[str]] = {}
    for name, process in running.items():
        made = list(_findings(name, process))
        made += _ports(name, config)
        for finding in made:
            found.setdefault(finding, []).append(name)
    listed = [ServiceFinding(tuple(names), finding) for finding, names in found.items()]
    return sorted(listed, key=lambda each: each.finding.level is not FindingLevel.PROBLEM)


def _start(service: str, config: str | None, run_as: ServiceUser | None) -> "subprocess.Popen[str]":
    named = [] if config is None else [f"--config={Path(config).absolute()}"]
    return subprocess.Popen(  # noqa: S603 -- a module of ours, and no shell
        [
            *(sys.executable, "-P", "-m", f"emailrelay_{service}"),
            "--check-config=json,no-ports",
            *named,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd="/",
        user=None if run_as is None else run_as.user,
        group=None if run_as is None else run_as.group,
        extra_groups=None if run_as is None else run_as.groups,
    )


def _findings(service: str, process: "subprocess.Popen[str]") -> Iterator[SettingFinding]:
    try:
        said, complaints = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        yield SettingFinding("", f"the check of {service} did not end within {_PATIENCE:g} s")
        return
    try:
        report: Any = json.loads(said)
        for each in report["findings"]:
            level = FindingLevel(each["level"])
            yield SettingFinding(each["setting"], each["text"], level, each["source"])
    except (ValueError, KeyError, TypeError):
        *_, last = complaints.splitlines() or [f"it ended with status {process.returncode}"]
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
                yield placed(finding, receiver.places)
    elif service == MonitorSettings.service:
        monitor = collect(MonitorSettings, flags.parse(MonitorSettings, argv), os.environ)
        if (rest := monitor.rest) is not None:
            for finding in addresses.tcp(
                rest.monitor_interface, rest.monitor_port, prefix="monitor_"
            ):
                yield placed(finding, monitor.places)
    elif service == ConsoleSettings.service:
        console = collect(ConsoleSettings, flags.parse(ConsoleSettings, argv), os.environ)
        if (of_console := console.rest) is not None:
            for finding in addresses.tcp(
                of_console.console_interface, of_console.console_port, prefix="console_"
            ):
                yield placed(finding, console.places)


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
