"""Values of settings: the forms that are understood, and the words about the others."""

import socket
from pathlib import Path

import pytest
from tests.unit.settings_problems import SMARTHOST, problems, write

from emailrelay.config import FilterdSettings, ForwarderSettings, ReceiverSettings, read
from emailrelay.config.values import destination
from emailrelay.errors import ConfigError
from emailrelay.schedule import Schedule


def test_a_list_is_repeated_or_separated_by_commas() -> None:
    found = read(FilterdSettings, ["--filter", "/a,/b", "--filter=exit:0"], {})

    assert found.filter == ["/a", "/b", "exit:0"]
    assert read(FilterdSettings, [], {"EMAILRELAY_FILTER": "/a, /b,"}).filter == ["/a", "/b"]


def test_a_list_in_the_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path, 'filter = ["/a,b", "/c"]\n')

    assert read(FilterdSettings, ["-c", path], {}).filter == ["/a,b", "/c"]


@pytest.mark.parametrize(
    ("argv", "once"),
    [([], False), (["--once"], True), (["--once=yes"], True), (["--once=no"], False)],
)
def test_a_flag_stands_alone_or_says_yes_or_no(argv: list[str], once: bool) -> None:  # noqa: FBT001 -- a table's column
    assert read(ForwarderSettings, [SMARTHOST, *argv], {}).once is once


def test_anonymous_without_a_list_means_all() -> None:
    found = read(ReceiverSettings, ["--anonymous"], {})

    assert found.anonymous == ["vrfy", "server", "content", "client"]
    assert read(ReceiverSettings, ["--anonymous=vrfy"], {}).anonymous == ["vrfy"]


def test_anonymous_takes_only_words_it_knows() -> None:
    (problem,) = problems(ReceiverSettings, ["--anonymous=vrfy,hat"])

    assert "hat: not one of vrfy, server, content, client" in problem


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("mail.isp.net:587", "mail.isp.net:587"),
        ("mail.isp.net:smtp", "mail.isp.net:25"),
        ("[::1]:25", "[::1]:25"),
        ("/run/lmtp.sock", "/run/lmtp.sock"),
    ],
)
def test_a_destination_is_host_and_port_or_a_path(text: str, meaning: str) -> None:
    assert destination(text) == meaning


def test_the_names_of_mail_services_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str, _protocol: str) -> int:
        raise OSError("service/proto not found")  # as where there is no /etc/services

    monkeypatch.setattr(socket, "getservbyname", unknown)
    names = ("smtp", "submission", "submissions")
    assert [destination(f"h:{name}") for name in names] == ["h:25", "h:587", "h:465"]
    with pytest.raises(ValueError, match="write the port's number"):
        destination("h:other")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mail.isp.net", "needs host and port"),
        (":25", "needs host and port"),
        ("mail.isp.net:", "needs host and port"),
        ("::1:25", "in brackets"),
        ("a b:25", "blanks"),
        ("x:0", "from 1 to 65535"),
        ("x:65536", "from 1 to 65535"),
        ("x:no-such-service", "there is no service named 'no-such-service'"),
    ],
)
def test_a_bad_destination_is_told_what_to_write(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        destination(text)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("--domain=two words", "must be a domain name"),
        ("--domain=", "must be a domain name"),
        ("--client-interface=eth0", "must be an IP address"),
        ("--spool-dir=", "must name a directory"),
        ("--retry-factor=nan", "must be a finite number"),
        ("--max-age=inf", "must be a finite number"),
    ],
)
def test_a_bad_value_is_told_what_is_allowed(argument: str, reason: str) -> None:
    (problem,) = problems(ForwarderSettings, [SMARTHOST, argument])

    assert problem.startswith(argument.split("=", maxsplit=1)[0])
    assert reason in problem


def test_as_many_recipients_are_accepted_as_an_envelope_has() -> None:
    assert read(ReceiverSettings, ["--recipients=100000"], {}).recipients == 100_000
    (problem,) = problems(ReceiverSettings, ["--recipients=100001"])
    assert problem.startswith("--recipients")
    assert "100000" in problem


def test_retry_options_make_the_schedule() -> None:
    found = read(FilterdSettings, ["--retry-first=1", "--retry-longest=9", "--max-age=99"], {})

    assert found.schedule == Schedule(first=1, factor=2, longest=9, max_age=99)


def test_the_defaults_of_the_schedule_are_the_schedules_own() -> None:
    assert read(FilterdSettings, [], {}).schedule == Schedule()


def test_a_bare_word_is_no_store() -> None:
    for word in ("memory", "postgresql", "mail"):
        with pytest.raises(ConfigError, match=r"spool:///DIR, postgresql://.*memory:"):
            read(FilterdSettings, [f"--store={word}"], {})
    for place in ("./mail", "/var/mail", "memory:"):
        assert read(FilterdSettings, [f"--store={place}"], {}).store_place == place


def test_a_list_of_stores_has_no_bare_word(tmp_path: Path) -> None:
    for places in ('["memory"]', '["postgresql://u@a/m", "mail"]'):
        path = write(tmp_path, f"store = {places}\n")
        with pytest.raises(ConfigError, match=r"spool:///DIR, postgresql://.*memory:"):
            read(FilterdSettings, ["-c", path], {})


def test_the_store_goes_before_the_spool_directory() -> None:
    both = ["--store=memory:", "--spool-dir=/x"]

    assert read(FilterdSettings, both, {}).store_place == "memory:"
    assert read(FilterdSettings, both[1:], {}).store_place == Path("/x")


def test_a_relative_spool_directory_is_that_of_the_start() -> None:
    assert read(FilterdSettings, ["--spool-dir=x"], {}).spool_dir == Path.cwd() / "x"
