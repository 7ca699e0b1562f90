"""The words of emailrelay-config's command line, and a question that gets no answer."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Never

import pytest

from emailrelay.configure import writing
from emailrelay.configure.cli import main


@pytest.mark.parametrize("words", [["--config", "FILE", "show"], ["show", "--config", "FILE"]])
def test_the_settings_file_is_named_before_or_behind_the_command(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text("size = 7\n")
    assert main([*(str(other) if word == "FILE" else word for word in words), "size"]) == 0
    assert f"{other}:1" in capsys.readouterr().out


def test_a_question_without_an_answer_changes_nothing(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    file = tmp_path / "emailrelay.toml"
    command = [sys.executable, "-m", "emailrelay.configure", "init", "--config", str(file)]
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, close_fds=True
    ) as asking:
        os.close(terminal)
        _until(controller, b"HOST:PORT: ")
        os.write(controller, b"\x04")  # Ctrl-D
        _until(controller, b"interrupted; nothing was changed")
        assert asking.wait(60) == 1
    os.close(controller)
    assert not file.exists()


@pytest.mark.parametrize(
    ("where", "state"),
    [
        ((writing, "check_free"), "nothing was written"),
        ((subprocess, "run"), "files written before stay"),
    ],
)
def test_interrupted_outside_a_question_it_says_what_stays(
    where: tuple[ModuleType, str],
    state: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> Never:
        raise KeyboardInterrupt

    monkeypatch.setattr(*where, interrupted)
    file = tmp_path / "emailrelay.toml"
    answers = ["--smarthost", "smtp.example.net", "--account", "none", "--clients", "local"]
    assert main(["init", *answers, "--doctor", "--config", str(file)]) == 130
    assert capsys.readouterr().err == f"emailrelay-config: interrupted; {state}\n"
    assert file.exists() is (state != "nothing was written")


def _until(terminal: int, words: bytes) -> None:
    said = b""
    while words not in said:
        said += os.read(terminal, 4096)
