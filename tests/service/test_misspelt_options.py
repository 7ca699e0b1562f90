"""A command names each option that it does not have, and the one that was probably meant."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
MAIN = {point.name: point for point in entry_points(group="console_scripts")}
NONE = "unknown option"


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("emailrelay-queue list --stat deferred", [f"--stat: {NONE}; did you mean --state?"]),
        ("emailrelay-queue --jsno list", [f"--jsno: {NONE}; did you mean --json?"]),
        ("emailrelay-queue list --olde=4h", [f"--olde: {NONE}; did you mean --older?"]),
        ("emailrelay-queue list -q", [f"-q: {NONE}; see --help"]),
        ("emailrelay-queue stats more", ["more: unexpected"]),
        (
            "emailrelay-queue flush --al --dry",
            [f"--al: {NONE}; did you mean --all?", f"--dry: {NONE}; see --help"],
        ),
        ("emailrelay-setup --dry-rn", [f"--dry-rn: {NONE}; did you mean --dry-run?"]),
        ("emailrelay-doctor --jsn", [f"--jsn: {NONE}; did you mean --json?"]),
        ("emailrelay-doctor --form=me@x.test", [f"--form: {NONE}; did you mean --from?"]),
        ("emailrelay-doctor --client-tsl", [f"--client-tsl: {NONE}; did you mean --client-tls?"]),
        (
            "emailrelay-filter-test --mesage m exit:0",
            [f"--mesage: {NONE}; did you mean --message?"],
        ),
        ("emailrelay-passwd --plian me", [f"--plian: {NONE}; did you mean --plain?"]),
        ("emailrelay-submit --spol-dir=d", [f"--spol-dir: {NONE}; did you mean --spool-dir?"]),
        ("emailrelay-submit -Z me@x.test", [f"-Z: {NONE}; see --help"]),
        ("emailrelay-auth status --jsno", [f"--jsno: {NONE}; did you mean --json?"]),
        ("emailrelay-config check --usr me", [f"--usr: {NONE}; did you mean --user?"]),
        ("emailrelay-store check --stor x", [f"--stor: {NONE}; did you mean --store?"]),
        ("emailrelay-notify --maildri d", [f"--maildri: {NONE}; did you mean --maildir?"]),
    ],
)
def test_misspelt_option_gets_a_suggestion(
    words: str,
    lines: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", words.split())
    program = words.split(maxsplit=1)[0]
    assert MAIN[program].load()() == 64
    found = capsys.readouterr().err.splitlines()
    assert [line for line in found if NONE in line or "unexpected" in line] == [
        f"{program}: {line}" for line in lines
    ]


def test_monitoring_system_gets_one_line_for_misspelt_options() -> None:
    command = [str(BIN / "emailrelay-queue"), "check", "--warnin", "3m", "--critcal", "1h"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (
        3,
        (
            f"EMAILRELAY UNKNOWN - --warnin: {NONE}; did you mean --warning?,"
            f" --critcal: {NONE}; did you mean --critical?\n"
        ),
    )
