"""The command line of emailrelay-queue: options, errors and exit statuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.service.queue_command.stored_mail import Mail

from emailrelay.queue.cli import main


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("lsit", "did you mean list?"),
        ("realese", "did you mean release?"),
        ("xyz", "--help lists them"),
    ],
)
def test_misspelt_command_gets_a_suggestion(
    mail: Mail, capsys: pytest.CaptureFixture[str], word: str, advice: str
) -> None:
    assert mail.run(word) == 64
    assert capsys.readouterr().err == f"emailrelay-queue: {word}: no such command; {advice}\n"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["hold"], 64),
        (["list", "--older", "soon"], 64),
        (["list", "--state", "lost"], 64),
        (["list", "--limit", "9" * 20], 64),
        (["list", "--limit", "9" * 5000], 64),
        (["no-such-command"], 64),
        ([], 64),
        (["--version"], 0),
        (["list", "--help"], 0),
        (["list", "-s", "/nowhere/at/all"], 66),
        (["list", "--store", "redis://x"], 66),
    ],
)
def test_exit_statuses(arguments: list[str], status: int) -> None:
    assert main(arguments) == status


def test_options_of_all_commands_stand_before_or_after_the_command(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = str(mail.spool)
    for words in (
        ["-s", spool, "--json", "list", mail.held],
        ["list", "--json", mail.held, f"--spool-dir={spool}"],
        ["--store", f"spool://{spool}", "list", mail.held, "--json"],
        ["-s", "/nowhere", "list", "-s", spool, mail.held, "--json"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["id"] == mail.held


def test_settings_file_names_the_spool(
    mail: Mail, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMAILRELAY_CONFIG", raising=False)
    config = tmp_path / "relay.toml"
    config.write_text(f'spool_dir = "{mail.spool}"\n')
    for words in (["-c", str(config), "stats"], ["stats", "--config", str(config)]):
        monkeypatch.setenv("EMAILRELAY_CONFIG", "/nowhere")
        assert main([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["all"]["messages"] == 4


def test_options_are_not_abbreviated(mail: Mail) -> None:
    assert mail.run("delete", "--al", "--ye") == 64
    assert len(mail.states()) == 4


SLOW = ("asyncio", "typer", "rich", "pydantic", "psycopg", "email", "ssl", "pathlib")


@pytest.mark.parametrize("words", ["list", "list --json", "list --by reply", "stats", "check"])
def test_looking_at_a_spool_imports_nothing_slow(mail: Mail, words: str) -> None:
    program = (
        "import sys; from emailrelay.queue.cli import main;"
        " main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *words.split(), "-s", str(mail.spool)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = done.stderr.split()
    assert [name for name in SLOW if name in loaded] == []
    assert len([name for name in loaded if name.startswith("emailrelay.")]) < 70
    assert len(loaded) < 190
