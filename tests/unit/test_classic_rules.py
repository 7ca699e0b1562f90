"""The meaning of combined legacy options."""

from pathlib import Path

import pytest

from emailrelay.classic.command_line import parse
from emailrelay.classic.rules import absolute, expand, problems


def judge(line: str) -> list[str]:
    asked, wrong = parse(line.split(), lambda _path: "")
    expanded, contradictions = expand(asked)
    return [*wrong, *contradictions, *problems(expanded)]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("--as-server", "--log --close-stderr"),
        (
            "--as-client h:25",
            "--log --no-syslog --no-daemon --dont-serve --forward --forward-to h:25",
        ),
        ("--as-proxy h:25", "--log --close-stderr --immediate --forward-to h:25"),
    ],
)
def test_a_shorthand_is_what_the_guide_says(short: str, long: str) -> None:
    brief = expand(parse(short.split(), lambda _path: "")[0])[0].values
    full = parse(long.split(), lambda _path: "")[0].values
    assert {name: brief[name] for name in brief if not name.startswith("as-")} == full


def test_a_quoted_filter_is_one_path() -> None:
    asked = parse(["--filter", '"sub/a,b",c,"header:add=X: d,e"'], lambda _path: "")[0]
    assert absolute(asked, Path("/here")).values_of("filter") == (
        '"/here/sub/a,b"',
        "/here/c",
        '"header:add=X: d,e"',
    )


def test_what_was_said_goes_before_a_shorthand() -> None:
    asked, wrong = expand(parse(["-d", "--log"], lambda _path: "")[0])
    assert (asked.on("log"), wrong) == (True, [])


def test_what_was_switched_off_stays_off_in_a_shorthand() -> None:
    asked, wrong = expand(parse(["-d", "--close-stderr=no"], lambda _path: "")[0])
    assert (asked.on("close-stderr"), asked.on("log"), wrong) == (False, True, [])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--as-server",
        "-d -rl --filter /bin/true --filter-timeout 3",
        "--as-client mail.isp.net:smtp",
        "-q h:25 -s /tmp/x --client-interface 127.0.0.1",
        "--as-proxy h:25 --port 2525",
        "--as-proxy h:25 --verify-recipients",
        "--as-server --as-proxy h:25",
        "--as-server --forward-to h:25",
        "--as-server --forward-to h:25 --poll 60",
        "--as-server --forward-to h:25 --tls-config=",
        "--as-server --forward-to h:25 --forward-on-disconnect",
        "--as-server --forward-to h:25 --admin 2526 --admin-terminate",
        "--no-smtp --admin 2526",
        "--dont-serve --forward-to h:25 --poll 60",
        "--log --syslog=local7 --log-format time,address",
    ],
)
def test_these_make_sense(line: str) -> None:
    assert judge(line) == []


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--as-client h:25 --as-server", ["--as-client"]),
        ("--as-client h:25 --as-proxy h:25", ["--as-client"]),
        ("--as-proxy h:25 --forward-to other:25", ["--as-proxy h:25"]),
        ("--poll 60", ["--poll"]),
        ("--forward", ["--forward"]),
        ("--immediate", ["--immediate"]),
        ("--forward-on-disconnect", ["--forward-on-disconnect"]),
        ("--as-server --connection-timeout 3", ["--connection-timeout"]),
        ("--as-client h:25 --remote-clients", ["--remote-clients"]),
        ("--as-client h:25 --admin 2526", ["--admin"]),
        ("--dont-serve", ["--dont-serve"]),
        ("--no-smtp", ["--no-smtp"]),
        ("--port smtp", ["--port"]),
        ("--port 65536", ["--port"]),
        ("--admin 0", ["--admin"]),
        ("--admin-terminate", ["--admin-terminate"]),
        ("--verbose", ["--verbose"]),
        ("--filter-timeout 4", ["--filter-timeout"]),
        ("--as-server --verify-recipients", ["--verify-recipients"]),
        ("--syslog=nowhere", ["--syslog"]),
        ("--log-format colour", ["--log-format"]),
        ("--pid-file=", ["--pid-file"]),
        ("--interface=", ["--interface"]),
        ("--filter=", ["--filter"]),
        ("--poll 60 --port x --admin-terminate", ["--admin-terminate", "--poll", "--port"]),
    ],
)
def test_every_contradiction_and_useless_option_is_named(line: str, named: list[str]) -> None:
    assert sorted(problem.split(": ")[0] for problem in judge(line)) == named


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("--spool-dir=spool", ("/home/spool",)),
        ("--filter=a,file:b,exit:0", ("/home/a", "file:/home/b", "exit:0")),
        ("--client-tls-verify=ca.pem", ("/home/ca.pem",)),
        ("--client-tls-verify=<default>", ("<default>",)),
        ("--server-tls-certificate=key.pem,/chain.pem", ("/home/key.pem", "/chain.pem")),
    ],
)
def test_relative_paths_start_in_the_directory_of_the_start(
    line: str, values: tuple[str, ...]
) -> None:
    given, _ = parse([line], lambda _path: "")
    name = line.partition("=")[0].removeprefix("--")
    assert absolute(given, Path("/home")).values_of(name) == values
