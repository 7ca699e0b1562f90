"""``--check-config``: each service checks its settings and files, as the user that it would run as."""

import subprocess
import sys
from collections.abc import Mapping

from emailrelay.classic.identity import Identity
from emailrelay.classic.services import Plan, Service, own_environment


def problems(plan: Plan, run_as: Identity | None, environ: Mapping[str, str]) -> list[str]:
    """Return the problems that the services of a plan find in their settings, each once."""
    once = [plan.once] if plan.once is not None and plan.forwarder is None else []
    found = [
        line for service in (*plan.lasting, *once) for line in _check(service, run_as, environ)
    ]
    return list(dict.fromkeys(found))


def _check(service: Service, run_as: Identity | None, environ: Mapping[str, str]) -> list[str]:
    ended = subprocess.run(  # noqa: S603 -- a module of ours, and no shell
        [sys.executable, "-P", "-m", service.module, *service.flags, "--check-config"],
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
    return lines if ended.returncode else []
