"""``--check-config``: each service checks its settings and files, as the user that it would run as."""

import subprocess
import sys
from collections.abc import Mapping

from emailrelay.classic.identity import Identity
from emailrelay.classic.services import Plan, Service


def problems(plan: Plan, who: Identity | None, environ: Mapping[str, str]) -> list[str]:
    """Return the problems that the services of a plan find in their settings, each once."""
    once = [plan.once] if plan.once is not None and plan.forwarder is None else []
    found = [line for service in (*plan.lasting, *once) for line in _check(service, who, environ)]
    return list(dict.fromkeys(found))


def _check(service: Service, who: Identity | None, environ: Mapping[str, str]) -> list[str]:
    ended = subprocess.run(  # noqa: S603 -- a module of ours, and no shell
        [sys.executable, "-P", "-m", service.module, *service.flags, "--check-config"],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=dict(environ),
        user=None if who is None else who.user,
        group=None if who is None else who.group,
        extra_groups=None if who is None else who.groups,
    )
    program = f"{service.settings.program}: "
    lines = [line.removeprefix(program) for line in ended.stderr.splitlines()]
    if ended.returncode and not lines:
        return [f"{program}the check ended with status {ended.returncode}"]
    return lines if ended.returncode else []
