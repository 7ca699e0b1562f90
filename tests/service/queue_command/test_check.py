"""The command check, a plugin for monitoring systems."""

import json
import socket

import pytest
from tests.service.queue_command.stored_mail import Mail

from emailrelay.queue.cli import main


@pytest.mark.parametrize(
    ("limits", "status", "word"),
    [
        (["--warning-failed", "1", "--warning-free", "0", "--critical-free", "0"], 0, "OK"),
        ([], 1, "WARNING"),
        (["--critical", "0s"], 2, "CRITICAL"),
        (["--critical-waiting", "1"], 2, "CRITICAL"),
        (["--critical-failed", "0"], 2, "CRITICAL"),
        (["--critical-free", "100"], 2, "CRITICAL"),
        (["--critical", "soon"], 3, "UNKNOWN"),
        (["--no-such-option"], 3, "UNKNOWN"),
        (["--timeout", "0s"], 3, "UNKNOWN"),
        (["--timeout", "0.000m"], 3, "UNKNOWN"),
        (["--warning-waiting", "9" * 400], 3, "UNKNOWN"),
        (["--warning-waiting", "9" * 5000], 3, "UNKNOWN"),
        (["--warning-failed", "9" * 18, "--warning-free", "0", "--critical-free", "0"], 0, "OK"),
    ],
)
def test_check_answers_as_a_monitoring_plugin(
    mail: Mail, capsys: pytest.CaptureFixture[str], limits: list[str], status: int, word: str
) -> None:
    assert mail.run("check", *limits) == status
    told = capsys.readouterr()
    assert told.out.startswith(f"EMAILRELAY {word} - ")
    assert told.out.count("\n") == 1
    assert told.err == ""
    if status < 3:
        assert " | oldest=" in told.out
        assert "2 messages waiting" in told.out
        assert mail.run("check", *limits, "--json") == status
        assert json.loads(capsys.readouterr().out)["status"] == word


def test_check_of_a_store_that_cannot_be_read_is_unknown_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["-s", "/nowhere"], ["--store", "postgresql://nobody@127.0.0.1:1/x"]):
        assert main(["check", *words]) == 3
        assert capsys.readouterr().out.startswith("EMAILRELAY UNKNOWN - ")
    assert main(["check", "-s", "/nowhere", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "UNKNOWN"
    assert "/nowhere" in told["reason"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_error_in_the_check_itself_is_unknown_and_no_warning(
    mail: Mail,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    form: tuple[str, ...],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OverflowError("int too large to convert to float")

    monkeypatch.setattr("emailrelay.queue.check_command.totals", fail)
    assert mail.run("check", *form) == 3
    told = capsys.readouterr()
    assert "UNKNOWN" in told.out
    assert "int too large to convert to float" in told.out
    assert told.err == ""


def test_check_answers_in_time_though_the_store_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/x"
        assert main(["check", "--store", url, "--timeout", "0.3s"]) == 3
    assert capsys.readouterr().out == "EMAILRELAY UNKNOWN - no answer within 0.3 s\n"
