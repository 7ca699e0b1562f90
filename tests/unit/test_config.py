"""Settings: their sources, the order of precedence, and every problem at once."""

from pathlib import Path

import pytest
from tests.unit.settings_problems import SMARTHOST, problems, write

from emailrelay import settings_file
from emailrelay.config import (
    SERVICES,
    Ack,
    FilterdSettings,
    ForwarderSettings,
    ReceiverSettings,
    Settings,
    load,
    read,
)
from emailrelay.config.declared import texts
from emailrelay.config.flags import flag, groups
from emailrelay.config.tables import tables


def test_a_value_of_the_wrong_kind_is_told_in_words_for_people() -> None:
    flags = ["--size=big", "--idle-timeout=long", "--remote-clients=perhaps"]

    assert sorted(problems(ReceiverSettings, flags)) == [
        "--idle-timeout: 'long': must be a number",
        "--remote-clients: 'perhaps': must be yes or no",
        "--size: 'big': must be a whole number",
    ]


def test_the_value_of_a_strange_option_is_no_second_problem() -> None:
    assert problems(ReceiverSettings, ["--poll", "5", "stray", "--bogus=7", "stray"]) == [
        "--poll: is an option of emailrelay-forwarder",
        "stray: unexpected; options begin with --",
        "--bogus: unknown option",
        "stray: unexpected; options begin with --",
    ]


def test_an_extension_that_is_none_is_named() -> None:
    (found,) = problems(ReceiverSettings, ["--server-smtp-config=-dsn,-turbo"])

    assert found.startswith("--server-smtp-config: ")
    assert "-turbo: not one of pipelining, 8bitmime" in found


def test_a_setting_at_the_end_of_a_file_is_no_alias(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[aliases]\nroot = 'ann@x.test'\n'*' = 'root'\npostmaster = ['root']\n"
        "domain = 'bob@x.test'\nstore = '/var/mail'\nport = 2525\n",
    )
    found = problems(ReceiverSettings, ["-c", path])
    assert [line.partition(": ")[0] for line in found] == [
        f"aliases in {path}, line 1, {key}" for key in ("store", "port")
    ]
    assert all("above the first [table]" in line for line in found)


def test_flags_go_before_environment_before_file_before_default(tmp_path: Path) -> None:
    path = write(tmp_path, "size = 1\nrecipients = 2\nport = 3\n")
    environ = {"EMAILRELAY_RECIPIENTS": "20", "EMAILRELAY_PORT": "30"}

    found = read(ReceiverSettings, ["-c", path, "--port", "300"], environ)

    assert (found.size, found.recipients, found.port) == (1, 20, 300)
    assert found.connections == 1000


def test_the_file_can_be_named_in_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, "workers = 3\n")

    assert read(FilterdSettings, [], {"EMAILRELAY_CONFIG": path}).workers == 3


def test_one_file_serves_all_services_and_each_leaves_the_others_keys_alone(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, 'port = 2525\nforward_to = "nonsense"\nfilter_jobs = 2\n')

    assert read(ReceiverSettings, ["-c", path], {}).port == 2525
    assert read(FilterdSettings, ["-c", path], {}).filter_jobs == 2


def test_every_problem_is_told_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, 'workers = 0\nspooldir = "x"\nresponse_timeout = -1\n')
    environ = {"EMAILRELAY_MAX_AGE": "long", "EMAILRELAY_SPOL_DIR": "/x"}
    argv = ["-c", path, "--log-format=xml", "--polll=1", "--port=1", "stray", "--retry-first"]

    found = "\n".join(problems(ForwarderSettings, argv, environ))

    assert f"workers in {path}, line 1: 0: must be greater than or equal to 1" in found
    assert f"spooldir in {path}, line 2: unknown setting; did you mean spool_dir?" in found
    assert f"response_timeout in {path}, line 3: -1" in found
    assert "EMAILRELAY_MAX_AGE: 'long'" in found
    assert "did you mean EMAILRELAY_SPOOL_DIR?" in found
    assert "--log-format: 'xml': must be 'auto', 'json', 'logfmt' or 'console'" in found
    assert "--polll: unknown option; did you mean --poll?" in found
    assert "--port: is an option of emailrelay-receiver" in found
    assert "stray: unexpected" in found
    assert "--retry-first: needs a value" in found
    assert "--forward-to (in a file: forward_to): there is no server to forward to" in found


def test_a_key_with_dashes_is_told_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, 'spool-dir = "x"\n')

    assert problems(FilterdSettings, ["-c", path]) == [
        f"spool-dir in {path}, line 1: unknown setting; did you mean spool_dir?"
    ]


@pytest.mark.parametrize(
    ("text", "named", "reason"),
    [
        ("port = \n", "line 1, port", "invalid value"),
        ("= 1", "line 1", "invalid statement"),
        ("port = 1\nport = 2\n", "line 2, port", "cannot overwrite a value"),
        ("size = 1\nspool_dir = /x\n", "line 2, spool_dir", "a text stands in quotes"),
        ("remote_clients = yes\n", "line 1, remote_clients", "write true or false"),
        ("size = 1\nport 25\n", "line 2, port", 'name = "text"'),
        ('filter = ["/a",\n"/b"\n', "line 2, filter", "unclosed array"),
        ('[[route]\nname = "x"\n', "line 1, [[route]", "array declaration"),
    ],
)
def test_a_file_that_is_not_toml_is_one_problem_that_names_line_and_key(
    tmp_path: Path, text: str, named: str, reason: str
) -> None:
    path = write(tmp_path, text)
    for service in SERVICES:
        # Nothing of the unread file is missed, such as forward_to.
        (problem,) = problems(service, ["-c", path])
        assert problem.startswith(f"{path}, {named}: is not TOML: ")
        assert reason in problem


@pytest.mark.parametrize("octets", [None, b"port = 25 # \xff"])
def test_a_file_that_cannot_be_read_brings_no_other_problem(
    tmp_path: Path, octets: bytes | None
) -> None:
    path = tmp_path / "relay.toml"
    if octets is not None:
        path.write_bytes(octets)
    (problem,) = problems(ForwarderSettings, ["-c", str(path)])
    assert str(path) in problem


def test_a_file_that_is_missing_or_not_text_is_a_problem(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")

    assert problems(ReceiverSettings, ["-c", "/nowhere/x"]) == [
        "/nowhere/x: cannot be read: No such file or directory"
    ]
    assert problems(ReceiverSettings, ["-c", str(binary)]) == [f"{binary}: is not UTF-8 text"]


def test_the_default_file_is_read_if_it_exists_and_the_others_go_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = tmp_path / "emailrelay.toml"
    monkeypatch.setattr(settings_file, "looked_at", str(default))
    other = write(tmp_path, "workers = 3\n")

    assert read(FilterdSettings, [], {}).workers == 1
    default.write_text("workers = 2\n")
    assert read(FilterdSettings, [], {}).workers == 2
    assert read(FilterdSettings, [], {"EMAILRELAY_CONFIG": other}).workers == 3
    assert read(FilterdSettings, ["-c", other], {"EMAILRELAY_CONFIG": "/none"}).workers == 3
    assert read(FilterdSettings, [], {"EMAILRELAY_CONFIG": ""}).workers == 1


def test_contradictions_name_the_option() -> None:
    assert problems(ForwarderSettings, [SMARTHOST, "--once", "--poll=5"]) == [
        "--once: with poll makes no sense: leave out one of the two"
    ]
    assert problems(ForwarderSettings, [SMARTHOST, "--client-tls", "--client-tls-connection"]) == [
        "--client-tls-connection: encrypts already, so leave out client_tls"
    ]
    assert problems(FilterdSettings, ["--retry-first=60", "--retry-longest=30"]) == [
        "--retry-longest: '30': must not be shorter than retry_first (60)"
    ]
    assert problems(ReceiverSettings, ["--ack=filtered"]) == [
        "--ack: 'filtered': needs a filter to wait for; set filter, or choose stored"
    ]
    assert read(ReceiverSettings, ["--ack=filtered", "--filter=/f"], {}).ack is Ack.FILTERED


def test_settings_cannot_be_changed() -> None:
    found = read(FilterdSettings, [], {})
    name = "workers"

    with pytest.raises(ValueError, match="frozen"):
        setattr(found, name, 2)


@pytest.mark.parametrize("settings", SERVICES)
def test_every_option_is_described_and_in_the_help(
    settings: type[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(settings, ["--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    with_flag = settings.model_fields.keys() - set(tables(settings))
    assert all(f"  {flag(name)} " in shown for name in with_flag)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert settings.model_fields.keys() == texts(settings).keys()
    assert all(texts(settings).values())
    grouped = [name for _, names in groups(settings) for name in names]
    assert sorted(grouped) == sorted(with_flag)


def test_a_service_with_problems_ends_with_78_and_tells_them_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(FilterdSettings, ["--workers=0", "--filter-jobs=0"])

    told = capsys.readouterr()
    assert ended.value.code == 78
    assert told.out == ""
    assert [line.split(": ")[:2] for line in told.err.splitlines()] == [
        ["emailrelay-filterd", "--workers"],
        ["emailrelay-filterd", "--filter-jobs"],
    ]


def test_check_config_shows_what_is_set_and_ends_with_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(FilterdSettings, ["--check-config", "--workers=2"])

    assert ended.value.code == 0
    assert "  workers = 2  (--workers)" in capsys.readouterr().out


def test_check_config_ends_with_78_when_something_is_wrong() -> None:
    with pytest.raises(SystemExit) as ended:
        load(FilterdSettings, ["--check-config", "--workers=x"])

    assert ended.value.code == 78


def test_version_with_verbose_tells_the_capabilities(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load(ReceiverSettings, ["--version", "--verbose"])

    first, *rest = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert first.startswith("emailrelay-receiver ")
    assert any(line.startswith("TLS library: ") for line in rest)


@pytest.mark.parametrize("filters", ['["mx:"]', '["exit:0,mx:"]', "['\"mx:\"']"])
def test_mx_as_a_client_filter_makes_the_smarthost_optional(filters: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"client_filter = {filters}\n")
    assert read(ForwarderSettings, ["-c", path], {}).forward_to is None


def test_a_wrong_client_filter_is_not_blamed_on_the_smarthost(tmp_path: Path) -> None:
    path = write(tmp_path, 'client_filter = ["mxx:"]\n')
    (problem,) = problems(ForwarderSettings, ["-c", path])
    assert "mxx" in problem
