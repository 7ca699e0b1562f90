"""The examples of docs/settings.md print what the page shows."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.pages import blocks
from tests.acceptance.relay import BIN, HANG, ROOT

SESSIONS = blocks(ROOT / "docs" / "settings.md", "console")

SHORT_NAME = re.compile(
    r"note: the name of this machine.*\n|\n# The name of this host for other servers(.*\n#)*.*\n"
)
"""What is told on machines whose name has no dot; the page shows another machine."""


@pytest.mark.parametrize("session", SESSIONS, ids=range(len(SESSIONS)))
def test_a_session_prints_what_the_page_shows(session: str, tmp_path: Path) -> None:
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "EMAILRELAY_CONFIG": "",
        "EMAILRELAY_DOMAIN": "mail.example.com",  # this machine's name may have no dot
        "PWD": str(tmp_path),
    }
    expected = session.replace("$PWD", str(tmp_path))
    printed = ""
    for line in expected.splitlines():
        if not line.startswith("$ "):
            continue
        done = subprocess.run(
            ["sh", "-c", line.removeprefix("$ ")],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=HANG,
        )
        printed += f"{line}\n" + "".join(f"{each.rstrip()}\n" for each in done.stdout.splitlines())

    assert SHORT_NAME.sub("", printed) == expected


def test_the_page_has_sessions() -> None:
    assert len(SESSIONS) >= 4
