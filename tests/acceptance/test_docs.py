"""Everything in the documentation exists: options, settings, links, examples."""

import os
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.acceptance.pages import PAGES, Printed, anchors, blocks, links, printed, spans
from tests.acceptance.relay import BIN, HANG, ROOT

from emailrelay.classic import command_line, rules, services
from emailrelay.config import SERVICES, Settings, read

WIDTH = 100
HOW_TO = ROOT / "docs" / "how-to"
NOTIFY = "/opt/emailrelay/bin/emailrelay-notify"
EXAMPLE = str(ROOT / "deploy" / "emailrelay.toml")
PRINTED = [one for page in PAGES for one in printed(page)]
QUEUE_COMMANDS = [
    "list",
    "show",
    "cat",
    "stats",
    "flush",
    "hold",
    "release",
    "retry",
    "fail",
    "delete",
    "route",
    "trace",
    "check",
    "verify",
    "export",
    "import",
]  # in the help's order
AUTH_COMMANDS = ["login", "status", "refresh"]
CONFIG_COMMANDS = ["init", "check", "show"]

NOT_OURS = MappingProxyType(
    {
        "--attach": "swaks",
        "--body": "swaks",
        "--build-arg": "podman",
        "--format": "podman",
        "--from": "swaks, and emailrelay-queue",
        "--now": "systemctl",
        "--pipeline": "swaks",
        "--quit-after": "swaks",
        "--server": "swaks",
        "--silent": "swaks",
        "--tls": "swaks",
        "--to": "swaks, and emailrelay-queue",
        "--init-groups": "setpriv",
        "--pdeathsig": "setpriv",
        "--regid": "setpriv",
        "--reuid": "setpriv",
    }
)
"""The owners of options in the text of a page: no command of ours has these in this sense."""


@cache
def options_of(*command: str) -> frozenset[str]:
    """Give the long options that a command's own help names."""
    told = subprocess.run(
        [BIN / command[0], *command[1:], "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"},
    )
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z-]*", told.stdout))


def options_for(one: Printed) -> frozenset[str]:
    match one.command:
        case "emailrelay":
            return options_of("emailrelay", "--verbose")
        case "emailrelay-queue":
            if one.arguments and one.arguments[0] in QUEUE_COMMANDS:
                return options_of("emailrelay-queue", one.arguments[0])
            return options_of("emailrelay-queue")
        case "emailrelay-doctor":
            return options_of("emailrelay-doctor") | options_of("emailrelay-forwarder")
        case "emailrelay-auth":
            return options_of("emailrelay-auth", *one.arguments[:1])
        case "emailrelay-config":
            return options_of("emailrelay-config", *one.arguments[:1]).union(
                *(options_of(service.program) for service in SERVICES)
            )
        case _:
            return options_of(one.command)


def every_option() -> frozenset[str]:
    commands = {one.command for one in PRINTED} - {"emailrelay", "emailrelay-queue"}
    found = [options_of(command) for command in commands]
    found += [options_of("emailrelay-auth", name) for name in AUTH_COMMANDS]
    found += [options_of("emailrelay-config", name) for name in CONFIG_COMMANDS]
    found += [options_of("emailrelay-queue", name) for name in QUEUE_COMMANDS]
    return options_of("emailrelay", "--verbose").union(*found)


def test_the_pages_print_commands() -> None:
    commands = {one.command for one in PRINTED}
    assert commands >= {
        "emailrelay",
        "emailrelay-receiver",
        "emailrelay-filterd",
        "emailrelay-forwarder",
        "emailrelay-queue",
        "emailrelay-submit",
        "emailrelay-notify",
    }
    assert sum(len(list(one.options)) for one in PRINTED) > 40


def test_every_printed_option_is_in_the_help_of_its_command() -> None:
    strange = [
        f"{one}: {option}"
        for one in PRINTED
        for option in one.options
        if option not in options_for(one)
    ]
    assert not strange


def test_every_option_in_the_text_is_that_of_some_command() -> None:
    known = every_option()
    strange = {
        f"{page.relative_to(ROOT)}: {option}"
        for page in PAGES
        for text in spans(page)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)
        if option not in known and option not in NOT_OURS
    }
    assert not strange


def test_every_exception_is_needed() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert [option for option in NOT_OURS if option not in text] == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.service)
def test_every_printed_service_has_good_settings(service: type[Settings]) -> None:
    found = [one for one in PRINTED if one.command == service.program and one.arguments]
    assert found
    for one in found:
        words = [word for word in one.arguments if word != "--check-config"]
        words = [EXAMPLE if word == "/etc/emailrelay/emailrelay.toml" else word for word in words]
        read(service, words, {"EMAILRELAY_FORWARD_TO": "127.0.0.1:25"})


def test_every_printed_historical_command_makes_sense() -> None:
    example = (ROOT / "deploy" / "emailrelay.conf").read_text("utf-8")
    found = [one for one in PRINTED if one.command == "emailrelay" and one.arguments]
    assert len(found) > 5
    for one in found:
        asked, wrong = command_line.parse(one.arguments, lambda _path: example)
        if asked.on("help") or asked.on("version"):
            assert not wrong, str(one)
            continue
        expanded, contradictions = rules.expand(asked)
        problems = [*wrong, *contradictions, *rules.problems(expanded)]
        problems += services.problems(services.plan(expanded), expanded, {})
        assert not problems, str(one)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_has_lines_of_at_most_100_characters(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert [line for line in prose if len(line) > WIDTH and can_be_broken(line)] == []


def can_be_broken(line: str) -> bool:
    """Return False for a line with a long address, or with long code, which stays in one piece."""
    whole = re.sub(r"`[^`]*`", lambda code: "x" * len(code[0]), line)
    return max(map(len, whole.split())) < WIDTH * 0.7


def test_every_page_is_in_the_index_of_its_folder() -> None:
    """So each page can be reached from README, through the README of each folder."""
    missing = {
        page.relative_to(ROOT).as_posix()
        for page in PAGES
        if page.name != "README.md"
        if page.name not in links(page.parent / "README.md")
    }
    assert missing == set()
    assert {"docs/README.md", "docs/how-to/README.md"} <= set(links(ROOT / "README.md"))
    assert {"how-to/README.md", "decisions/README.md"} <= set(links(ROOT / "docs" / "README.md"))


def test_every_settings_example_is_accepted(tmp_path: Path) -> None:
    found = [text for page in PAGES for text in blocks(page, "toml")]
    assert found
    for number, text in enumerate(found):
        tomllib.loads(text)
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        for service in SERVICES:
            read(service, ["--config", str(path)], {"EMAILRELAY_FORWARD_TO": "127.0.0.1:25"})


OWNERS = frozenset({"root", "emailrelay", "adm", "nobody", "USER", "NAME"})
_GIVEN = re.compile(
    r"(?<![\w-])(?:chgrp|chown|--user|User|Group|RUN_AS|runuser -u|create 0\d+|-[og])"
    r"[ =]+(?:-R )?([\w:]+)"
)


def deployed() -> list[Path]:
    return [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]


def test_pages_and_units_give_things_to_root_and_the_user_of_the_services_only() -> None:
    texts = {page: "".join(blocks(page, "sh")) + "\n".join(spans(page)) for page in PAGES}
    texts |= {path: path.read_text("utf-8") for path in deployed()}
    found = {
        (owner, path.relative_to(ROOT).as_posix())
        for path, text in texts.items()
        for named in _GIVEN.findall(text)
        for owner in named.split(":")
    }
    assert ("emailrelay", "docs/spool.md") in found
    assert ("emailrelay", "deploy/systemd/emailrelay.service") in found
    assert {one for one in found if one[0] not in OWNERS and not one[0].isdigit()} == set()


def test_a_line_for_cron_names_the_whole_path() -> None:
    texts = {page: page.read_text("utf-8") for page in PAGES}
    lines = [
        line
        for text in texts.values()
        for line in text.splitlines()
        if re.match(r"\*(?:/\d+)?(?: \*){4} ", line)
    ]
    assert lines
    assert all(line.split()[5:7] == ["emailrelay", NOTIFY] for line in lines), lines


def test_pages_and_units_name_one_settings_directory() -> None:
    of_the_past = {"upgrading.md", "settings-directory.md"}
    texts = [page.read_text("utf-8") for page in PAGES if page.name not in of_the_past]
    texts += [path.read_text("utf-8") for path in deployed()]
    files = {name for text in texts for name in re.findall(r"/etc/emailrelay[-.][\w.-]*\w", text)}
    assert files == {"/etc/emailrelay.conf"}


def run(program: Path, *arguments: Path) -> None:
    program.chmod(0o755)
    subprocess.run([program, *arguments], check=True, timeout=HANG)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: s\r\n\r\ntext\r\n", b"text\r\n-- \r\nExample Ltd, "),
        (b"Subject: s\r\n\r\ntext", b"text\r\n-- \r\nExample Ltd, "),
        (b"Content-Type: text/html\r\n\r\n<p>\r\n", b"\r\n\r\n<p>\r\n"),
        (b"Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n", b"\r\n\r\nAAAA\r\n"),
    ],
    ids=["plain", "without a last line end", "html", "encoded"],
)
def test_the_footer_filter_adds_to_plain_text_only(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    (text,) = blocks(HOW_TO / "footer-filter.md", "python")
    program, content = tmp_path / "add-footer", tmp_path / "content"
    program.write_text(text)
    content.write_bytes(before)
    run(program, content)
    assert after in content.read_bytes()
    assert content.read_bytes().startswith(before)
    once = content.read_bytes()
    run(program, content)
    assert content.read_bytes() == once


def test_the_branch_filter_routes_the_branchs_mail_only(tmp_path: Path) -> None:
    (text,) = (t for t in blocks(HOW_TO / "several-forwarders.md", "sh") if t.startswith("#!"))
    program, envelope = tmp_path / "branch", tmp_path / "envelope"
    program.write_text(text)
    empty = b"X-MailRelay-ForwardToAddress: \r\n"
    for recipient, expected in (
        (b"a@branch.example.org", b"X-MailRelay-ForwardToAddress: 10.1.2.3:25\r\n"),
        (b"a@example.org", empty),
    ):
        head = b"X-MailRelay-To-Remote: " + recipient + b"\r\n"
        envelope.write_bytes(head + empty)
        run(program, tmp_path / "content", envelope)
        assert envelope.read_bytes() == head + expected
