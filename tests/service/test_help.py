"""The help of every command and of its verbs: width, look, completeness, speed, examples."""

import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

import pytest
from docs.generate.commands import all_help

from emailrelay.configure.cli import CONFIG
from emailrelay.notify import cli as notify
from emailrelay.oauth.cli import AUTH
from emailrelay.queue.parser import QUEUE
from emailrelay.secrets import passwd
from emailrelay.setup import cli as setup
from emailrelay.store.postgres.cli import STORE
from emailrelay.submit import arguments
from emailrelay.submit.help_text import PAGE as SUBMIT
from emailrelay.terminal import common_options
from emailrelay.terminal.help_page import HelpEntry, HelpGroup, HelpPage, render
from emailrelay_filterd.trial import cli as filter_test
from emailrelay_forwarder.doctor import cli as doctor

HELP = all_help()
PAGES = {page.program: page for top in HELP.values() for page in (top, *top.verbs)}
MAIN: Mapping[str, EntryPoint] = {
    point.name: point for point in entry_points(group="console_scripts") if point.name in HELP
}
PARSERS: Mapping[str, ArgumentParser] = {
    "emailrelay-notify": notify.parser(),
    "emailrelay-passwd": passwd.parser(),
    "emailrelay-setup": setup.parser(),
    "emailrelay-filter-test": filter_test.parser(),
    "emailrelay-doctor": doctor.parser(),
    **{
        f"{program.name} {name}": program.verb_parser(name)
        for program in (AUTH, CONFIG, QUEUE, STORE)
        for name in program.verbs
    },
}
COMMON = (
    common_options.CONFIG,
    common_options.SPOOL_DIR,
    common_options.STORE,
    common_options.JSON,
    common_options.HELP,
    common_options.VERSION,
)
BIN = Path(sys.executable).parent


def entries(page: HelpPage) -> Iterator[HelpEntry]:
    return (entry for group in page.groups for entry in group.entries)


def first_words(text: str) -> str:
    return re.split(r"[.:] |\.$", text, maxsplit=1)[0]


def told(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Give what a command prints for --help."""
    command, *verb = name.split()
    words = ["--verbose"] if command == "emailrelay" else []
    main = cast("Callable[[], int]", MAIN[command].load())
    monkeypatch.setattr(sys, "argv", [command, *verb, "--help", *words])
    try:
        status: object = main()
    except SystemExit as ended:
        status = ended.code
    assert status in (0, None)
    return capsys.readouterr().out


def test_no_command_is_forgotten() -> None:
    scripts = {point.name for point in entry_points(group="console_scripts")}
    ours = {name for name in scripts if re.fullmatch(r"emailrelay(-[a-z-]+)?", name)}
    assert set(HELP) == ours


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("name", PAGES)
def test_help_fits_and_shows_every_option(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = told(name, capsys, monkeypatch)
    # Examples stay whole, so that they can be pasted.
    before, _, examples = text.rpartition("\nExample")
    assert [line for line in before.splitlines() if len(line) > width] == []
    assert [line for line in examples.splitlines() if len(line) > 80] == []
    assert text.startswith(f"usage: {name}")
    assert text.endswith(f"\nMore: man {name.split(maxsplit=1)[0]}\n")
    assert "\n\n\n" not in text
    words = {word.rstrip(",") for word in re.split(r"[\s\[=]+", text)}
    shown = {each for entry in entries(PAGES[name]) for each in entry.names if each[0] == "-"}
    assert shown - words == set()


def test_defaults_are_shown_as_they_are_written() -> None:
    shown = {
        entry.names[-1]: entry.text.rpartition(" [")[2].rstrip("]")
        for service in ("forwarder", "console")
        for entry in entries(PAGES[f"emailrelay-{service}"])
    }
    assert (shown["--bounces"], shown["--keep-failed"]) == ("yes", "2592000")
    assert shown["--console-interface"] == "127.0.0.1"


@pytest.mark.parametrize("name", PARSERS)
def test_help_has_every_option_of_the_parser(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The usage that argparse makes by itself knows all of them, by their first names.
    monkeypatch.setenv("COLUMNS", "1000")
    usage = PARSERS[name].format_usage()
    options = set(re.findall(r"(?<=[\[| (])--?[a-z][a-z0-9-]*", usage, re.IGNORECASE))
    assert len(options) >= 3
    assert options - {each for entry in entries(PAGES[name]) for each in entry.names} == set()


def test_help_of_submit_has_options_that_it_takes() -> None:
    for entry in entries(SUBMIT):
        for name in entry.names:
            arguments.parse("emailrelay-submit", [name, "25"] if entry.word else [name])


@pytest.mark.parametrize("common", COMMON, ids=lambda entry: entry.names[-1])
def test_same_option_has_the_same_words_in_every_command(common: HelpEntry) -> None:
    found = {
        name: entry
        for name, page in PAGES.items()
        for entry in entries(page)
        if entry.names[-1] == common.names[-1]
    }
    assert len(found) >= 4
    for name, entry in found.items():
        of_settings = name == "emailrelay" or "--check-config" in (
            each.names[-1] for each in entries(PAGES[name])
        )
        if of_settings:  # the reference has the same text, with details
            assert first_words(entry.text) == first_words(common.text), name
        else:
            assert (entry.text, entry.word) == (common.text, common.word), name


def test_texts_have_one_style() -> None:
    for name, page in PAGES.items():
        assert page.examples, name
        assert page.about[0].endswith("."), name
        assert page.groups[-1].title in (common_options.GENERAL, "Arguments"), name
        for entry in entries(page):
            assert re.fullmatch(r"[A-Z<].*[.\]]", entry.text), (name, entry)


@pytest.mark.parametrize("name", HELP)
def test_help_is_the_same_in_a_pipe_with_ascii(name: str) -> None:
    """In a pipe, it has 80 columns, whatever the terminal; no character set breaks it."""
    environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [BIN / name, "--help"], capture_output=True, timeout=60, check=True, env=environment
    )
    assert done.stderr == b""
    text = done.stdout.decode("ascii")
    assert "\\u" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", [name for name, page in HELP.items() if page.verbs])
def test_command_without_a_verb_says_what_is_missing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    main = cast("Callable[[], int]", MAIN[name].load())
    assert main() == os.EX_USAGE
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"{name}: name a command; --help lists them\n")


def test_short_window_shows_texts_below_the_options() -> None:
    page = HelpPage(
        "cmd",
        ("[options]",),
        ("Does it.",),
        (HelpGroup("Options", (HelpEntry(("-a", "--all-of-them"), "Take all of them.", "WORD"),)),),
    )
    assert render(page, 40).splitlines()[4:7] == [
        "Options:",
        "  -a, --all-of-them WORD",
        "          Take all of them.",
    ]
    assert "  -a, --all-of-them WORD    Take all of them." in render(page, 80)


EXAMPLES = sorted({line for page in PAGES.values() for line in page.examples})
STAYS = re.compile(
    r"emailrelay --as-|emailrelay-(receiver|filterd|forwarder|monitor|console)$|emailrelay-doctor"
    r"|emailrelay-store|emailrelay-queue (export|import)|emailrelay-auth (login|refresh)"
    r"|emailrelay-config check receiver --user|emailrelay-setup --dry-run"
)
"""Examples that serve until they are stopped, or need another host or user."""


@pytest.mark.parametrize("line", [line for line in EXAMPLES if not STAYS.match(line)])
def test_example_runs(line: str, tmp_path: Path) -> None:
    settings = tmp_path / "emailrelay.toml"
    spool = tmp_path / "spool"
    settings.write_text(
        f'forward_to = "127.0.0.1:9"\nspool_dir = "{spool}"\nruntime_dir = "{tmp_path}"\n'
        "port = 0\nmonitor_port = 0\nconsole_port = 0\n"
        f'console_auth = "{tmp_path}/console.auth"\n'
    )
    spool.mkdir(mode=0o700)
    (tmp_path / "console.auth").write_text("server plain ann secret operator\n")
    (tmp_path / "console.auth").chmod(0o600)
    (tmp_path / "message.eml").write_text("To: you@example.net\n\nhello\n")
    (tmp_path / "mail.eml").write_text("To: you@example.net\n\nhello\n")
    line = line.replace("/var/mail", str(tmp_path))
    if line.startswith("emailrelay-config init"):
        line = f"{line} --account none --force --no-doctor"
    done = subprocess.run(
        ["bash", "-c", line],
        input="secret\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "EMAILRELAY_CONFIG": str(settings)},
    )
    # 1: there is no such message, no server at this address, or no history yet.
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", [line for line in EXAMPLES if STAYS.match(line)])
def test_other_examples_have_options_of_their_command(line: str) -> None:
    words = shlex.split(line, comments=True)
    verb = f"{words[0]} {words[1]}" if len(words) > 1 else ""
    page = PAGES.get(verb, PAGES[words[0]])
    known = {name for entry in entries(page) for name in entry.names}
    assert {word for word in words if word.startswith("-")} <= known | {"--to"}


@pytest.mark.parametrize("name", HELP)
def test_version_with_verbose_tells_the_capabilities(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--version", "--verbose"])
    try:
        status: object = MAIN[name].load()()
    except SystemExit as ended:
        status = ended.code
    assert status in (0, None)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{name} ")
    assert any(line.startswith("TLS library: ") for line in rest)
