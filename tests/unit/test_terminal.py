"""Output of commands: escapes, widths, readers that have gone."""

import json
import os
import subprocess
import sys

import pytest

from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.output import print_json, print_line
from emailrelay.terminal.run_command import run_command
from emailrelay.terminal.screen import console, new_table, plain


def run_without_reader(program: str, *, stream: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose standard output or error is a pipe that nothing reads."""
    reader, writer = os.pipe()
    os.close(reader)
    stdout = writer if stream == "stdout" else subprocess.PIPE
    stderr = writer if stream == "stderr" else subprocess.PIPE
    try:
        return subprocess.run(
            [sys.executable, "-c", program], check=False, text=True, stdout=stdout, stderr=stderr
        )
    finally:
        os.close(writer)


def test_errors_name_the_program_and_keep_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_errors("emailrelay-x", "one", "two\x1b[2J", status=64) == 64
    assert capsys.readouterr() == ("", "emailrelay-x: one\nemailrelay-x: two\\x1b[2J\n")


def test_errors_that_cannot_be_written_leave_the_status() -> None:
    program = (
        "import sys; from emailrelay.terminal.error_lines import print_errors;"
        "sys.exit(print_errors('emailrelay-x', 'one', status=75))"
    )
    assert run_without_reader(program, stream="stderr").returncode == 75


def test_lines_are_escaped_and_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a\nb")
    print_json({"text": "a\nb"})
    first, second = capsys.readouterr().out.splitlines()
    assert (first, json.loads(second)) == ("a\\x0ab", {"text": "a\nb"})


def test_table_in_a_pipe_shows_markup_as_text_on_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = new_table()
    table.add_column("Reply")
    table.add_row(plain("[red]\x1b " + "word " * 60))
    console().print(table)
    assert capsys.readouterr().out.splitlines()[1].rstrip() == "[red]\\x1b" + " word" * 60


@pytest.mark.parametrize("show", ["print_line('a')", "print_json({})", "console().print('a')"])
def test_missing_reader_ends_the_block_and_nothing_else(show: str) -> None:
    program = (
        "from emailrelay.terminal.output import *\n"
        "from emailrelay.terminal.run_command import run_command\n"
        "from emailrelay.terminal.screen import *\n"
        "with output_until_closed():\n"
        f"    while True: {show}\n"
        "raise SystemExit(7)"
    )
    done = run_without_reader(program, stream="stdout")
    assert (done.returncode, done.stderr) == (7, "")


def test_interrupt_is_a_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> int:
        raise KeyboardInterrupt

    assert run_command(act, program="emailrelay-x") == 130
    assert capsys.readouterr().err == "emailrelay-x: interrupted; changes made before stay\n"
