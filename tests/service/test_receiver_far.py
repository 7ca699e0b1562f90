"""Clients of other hosts, at an address that is not loopback, in their own network namespace."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.certificates import make_certificates

OWN_NETWORK = 'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"'


def told(*options: str) -> list[int]:
    """Return the reply codes for a far client: at the greeting, EHLO, MAIL and RCPT."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs ip and unshare")
    space = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", OWN_NETWORK, "sh"]
    if subprocess.run([*space, "true"], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces are not to be had here")
    run = subprocess.run(
        [*space, sys.executable, "-m", "tests.fakes.far_client", *options],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    codes: list[int] = json.loads(run.stdout)
    return codes


def test_strangers_are_turned_away_at_the_door(tmp_path: Path) -> None:
    assert told(f"--spool-dir={tmp_path / 'spool'}") == [554]


def test_strangers_come_in_to_log_in_but_relay_nothing_before(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.touch(0o600)
    secrets.write_text("server md5 alice 0\nserver plain bob secret\n".partition("\n")[2])
    where = f"--spool-dir={tmp_path / 'spool'}"
    codes = told(where, f"--server-auth={secrets}")
    assert codes == [220, 250, 530, 503]


def test_every_client_is_served_if_the_settings_say_so(tmp_path: Path) -> None:
    assert told(f"--spool-dir={tmp_path / 'spool'}", "--remote-clients") == [220, 250, 250, 250]


def test_a_stranger_without_the_certificate_asked_for_sends_nothing(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    where = [f"--spool-dir={tmp_path / 'spool'}", "--remote-clients", "--server-tls"]
    files_named = [
        f"--server-tls-certificate={files.server}",
        f"--server-tls-verify={files.authority}",
    ]
    assert told(*where, *files_named) == [220, 250, 530, 530]
