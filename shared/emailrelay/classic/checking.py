"""``--check-config``: each service checks its settings and files, as the user that will run it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from emailrelay.classic.command_line import GivenOptions
from emailrelay.classic.identity import Identity
from emailrelay.classic.services import Plan, Service, own_environment, store_settings
from emailrelay.service.checks import addresses


def problems(
    plan: Plan, asked: GivenOptions, run_as: Identity | None, environ: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the problems and the warnings of the services of a plan, each once.

    This process tries the addresses, because it binds them before it becomes the user.
    """
    once = [plan.once] if plan.once is not None and plan.forwarder is None else []
    wrong = _addresses(plan, asked)
    warnings = list[str]()
    # A missing spool is made by root, who needs no check.
    store = store_settings(asked, environ).store_place
    makes_spool = run_as is not None and isinstance(store, Path) and not store.exists()
    words = "no-ports,no-store" if makes_spool else "no-ports"
    for service in (*plan.long_running, *once):
        for line in _check(service, run_as, environ, words):
            text = line.removeprefix("warning: ")
            (wrong if text == line else warnings).append(text)
    return list(dict.fromkeys(wrong)), list(dict.fromkeys(warnings))


def _addresses(plan: Plan, asked: GivenOptions) -> list[str]:
    wanted = [("--admin", ["127.0.0.1"], asked.value("admin"))] if asked.on("admin") else []
    if plan.receiver is not None:
        wanted.append(
            ("--port", list(asked.values_of("interface")), asked.value_or_default("port"))
        )
    return [
        f"{option}: {finding.text}"
        for option, interfaces, port in wanted
        for finding in addresses.tcp(interfaces, int(port or 0))
    ]


def _check(
    service: Service, run_as: Identity | None, environ: Mapping[str, str], words: str
) -> list[str]:
    ended = subprocess.run(  # noqa: S603 -- a module of ours, and no shell
        [sys.executable, "-P", "-m", service.module, *service.flags, f"--check-config={words}"],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=own_environment(environ),
        user=None if run_as is None else run_as.user,
        group=None if run_as is None else run_as.group,
        extra_groups=None if run_as is None else run_as.groups,
    )
    program = f"{service.settings.program}: "
    lines = [line.removeprefix(program) for line in ended.stderr.splitlines()]
    if ended.returncode and not lines:
        return [f"{program}the check ended with status {ended.returncode}"]
    return lines
