"""The example of the README with several hosts, played by network namespaces."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.relay import BIN, HANG, ROOT
from tests.database_server import programs

SCRIPT = ROOT / "deploy" / "five-hosts"


def namespaces_work() -> bool:
    """Tell whether this user can make a network namespace here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], check=False)
    return tried.returncode == 0


@pytest.mark.skipif(not namespaces_work(), reason="needs root, iproute2 and network namespaces")
def test_message_goes_from_an_application_host_through_a_gateway() -> None:
    done = subprocess.run(
        [SCRIPT],
        env={**os.environ, "COMMANDS_BIN": str(BIN), "POSTGRES_BIN": str(programs())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot reach the smarthost" in done.stdout
    for host in ("app1", "app2"):
        assert f"by {host}.example" in done.stdout
    delivered = [line for line in done.stdout.splitlines() if "event=delivered" in line]
    assert len(delivered) == 2
    assert all(line.startswith("gate") for line in delivered)
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    mine = [word for word in left.split() if word.endswith(("-app1", "-database"))]
    assert mine == []
    assert list(Path("/tmp").glob("five-hosts.*")) == []  # noqa: S108 - the script uses it
