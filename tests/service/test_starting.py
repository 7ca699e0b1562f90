"""A service that cannot use its spool prints one line with the remedy, and ends."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.forked import run_forked

SERVICES: list[tuple[str, list[str]]] = [
    ("emailrelay_receiver", ["--interface", "127.0.0.1", "--port", "0"]),
    ("emailrelay_filterd", []),
    ("emailrelay_forwarder", ["--forward-to", "127.0.0.1:9"]),
    ("emailrelay_forwarder", ["--forward-to", "127.0.0.1:9", "--once"]),
]


def complaint(module: str, options: list[str], spool: Path) -> tuple[int, list[str]]:
    ended = run_forked(module.replace("_", "-"), "--spool-dir", str(spool), *options)
    assert '"event":"listening"' not in ended.stdout
    assert '"event":"started"' not in ended.stdout
    return ended.returncode, ended.stderr.splitlines()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("module", "options"), SERVICES)
def test_what_is_in_the_way_of_the_spool_is_named(
    module: str, options: list[str], workers: str, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "spool"
    in_the_way.write_text("no directory")

    status, lines = complaint(module, [*options, "--workers", workers], in_the_way / "mail")

    assert status == 78
    assert lines
    for line in lines:  # Each worker may log it.
        assert f"{in_the_way}/mail: Not a directory" in line
        assert "--spool-dir DIR" in line


@pytest.mark.parametrize("service", ["receiver", "filterd", "forwarder"])
def test_services_start_without_what_only_some_need(service: str) -> None:
    program = f"import emailrelay_{service}.cli, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"typer", "rich", "structlog", "httpx2", "joserfc"}
