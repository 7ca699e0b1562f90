"""Settings: their sources, the order of precedence, and every problem at once."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from emailrelay import settings_file
from emailrelay.config import (
    SERVICES,
    Ack,
    FilterdSettings,
    ForwarderSettings,
    ReceiverSettings,
    Settings,
    flags,
    load,
    read,
)
from emailrelay.config.declared import texts
from emailrelay.config.flags import flag, groups
from emailrelay.config.reading import collect
from emailrelay.config.tables import tables
from emailrelay.config.values import destination
from emailrelay.errors import ConfigError
from emailrelay.routes import Rate, Route, Routes
from emailrelay.schedule import Schedule

SMARTHOST = "--forward-to=127.0.0.1:25"


def problems(
    settings: type[Settings], argv: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(settings, argv, environ or {})
    return caught.value.problems


def write(folder: Path, text: str) -> str:
    path = folder / "relay.toml"
    path.write_text(text)
    return str(path)


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
        "--bogus: there is no such option",
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
    assert f"spooldir in {path}, line 2: there is no such option; did you mean spool_dir?" in found
    assert f"response_timeout in {path}, line 3: -1" in found
    assert "EMAILRELAY_MAX_AGE: 'long'" in found
    assert "did you mean EMAILRELAY_SPOOL_DIR?" in found
    assert "--log-format: 'xml': must be 'auto', 'json', 'logfmt' or 'console'" in found
    assert "--polll: there is no such option; did you mean --poll?" in found
    assert "--port: is an option of emailrelay-receiver" in found
    assert "stray: unexpected" in found
    assert "--retry-first: needs a value" in found
    assert "--forward-to (in a file: forward_to): there is nowhere to forward to" in found


def test_a_key_with_dashes_is_told_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, 'spool-dir = "x"\n')

    assert problems(FilterdSettings, ["-c", path]) == [
        f"spool-dir in {path}, line 1: there is no such option; did you mean spool_dir?"
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


def test_names_that_others_put_into_the_environment_are_left_alone() -> None:
    environ = {
        "EMAILRELAY_SERVICE_HOST": "10.0.0.1",
        "EMAILRELAY_PORT": "tcp://10.0.0.1:25",
        "EMAILRELAY_PORT_25_TCP_ADDR": "10.0.0.1",
        "EMAILRELAY_SMTP_SERVICE_PORT_SMTP": "25",
        "EMAILRELAY_ID": "emailrelay.1.2.3",
    }

    assert read(ReceiverSettings, [], environ).port == 25
    assert collect(ReceiverSettings, flags.parse(ReceiverSettings, []), environ).warnings == []


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("EMAILRELAY_PROT", "EMAILRELAY_PORT"),
        ("EMAILRELAY_SMARTHOST", "EMAILRELAY_FORWARD_TO"),
        ("EMAILRELAY_SMARTHSOT", "EMAILRELAY_FORWARD_TO"),
        ("EMAILRELAY_SPOOLDIR", "EMAILRELAY_SPOOL_DIR"),
        ("EMAILRELAY_CONFGI", "EMAILRELAY_CONFIG"),
        ("EMAILRELAY_DATABASE_URL", "EMAILRELAY_STORE"),
    ],
)
def test_a_variable_that_resembles_a_setting_is_a_mistake(variable: str, meant: str) -> None:
    for service in SERVICES:
        flag = [SMARTHOST] if service is ForwarderSettings else []
        assert problems(service, flag, {variable: "x"}) == [
            f"{variable}: there is no such option; did you mean {meant}?"
        ]


def test_a_variable_that_resembles_no_setting_is_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAILRELAY_MOOD", "good")

    assert load(FilterdSettings, []).workers == 1
    assert capsys.readouterr().err == (
        "emailrelay-filterd: warning: EMAILRELAY_MOOD: there is no such option,"
        " so it has no effect\n"
    )


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("smarthost", "forward_to"),
        ("smart_host", "forward_to"),
        ("relayhost", "forward_to"),
        ("prot", "port"),
        ("Port", "port"),
        ("listen", "interface"),
        ("hostname", "domain"),
        ("spool", "spool_dir"),
        ("forward-to", "forward_to"),
        ("servertls", "server_tls"),
    ],
)
def test_a_near_miss_is_told_the_name_of_the_setting(word: str, meant: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{word} = 1\n")

    assert problems(FilterdSettings, ["-c", path]) == [
        f"{word} in {path}, line 1: there is no such option; did you mean {meant}?"
    ]


@pytest.mark.parametrize("word", ["mood", "tcp", "kubernetes_ingress", "x"])
def test_a_word_that_resembles_no_setting_gets_no_advice(word: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{word} = 1\n")

    assert problems(FilterdSettings, ["-c", path]) == [
        f"{word} in {path}, line 1: there is no such option"
    ]


def test_a_near_miss_in_a_table_is_told_the_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[[route]]\nname = 'a'\nsmarthost = 'x:25'\nsmarthosts = ['x:25']\n"
        "[[account]]\nname = 'b'\nuser = 'b'\npassword_file = '/b'\npasword = 'open sesame'\n",
    )

    assert problems(ForwarderSettings, ["-c", path]) == [
        (
            f"[[route]] 1 ('a') in {path}, line 3, smarthost: there is no such option;"
            " did you mean smarthosts?"
        ),
        (
            f"[[account]] 1 ('b') in {path}, line 9, pasword: there is no such option;"
            " did you mean password_file?"
        ),
    ]


def test_a_password_in_a_url_is_not_shown() -> None:
    (problem,) = problems(FilterdSettings, ["--workers=postgresql://u:open@h/m?password=sesame"])

    assert "postgresql://u:***@h/m?password=***" in problem


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


def test_retry_options_make_the_schedule() -> None:
    found = read(FilterdSettings, ["--retry-first=1", "--retry-longest=9", "--max-age=99"], {})

    assert found.schedule == Schedule(first=1, factor=2, longest=9, max_age=99)


def test_the_defaults_of_the_schedule_are_the_schedules_own() -> None:
    assert read(FilterdSettings, [], {}).schedule == Schedule()


def test_the_store_goes_before_the_spool_directory() -> None:
    both = ["--store=memory:", "--spool-dir=/x"]

    assert read(FilterdSettings, both, {}).store_place == "memory:"
    assert read(FilterdSettings, both[1:], {}).store_place == Path("/x")


def test_a_relative_spool_directory_is_that_of_the_start() -> None:
    assert read(FilterdSettings, ["--spool-dir=x"], {}).spool_dir == Path.cwd() / "x"


def test_settings_cannot_be_changed() -> None:
    found = read(FilterdSettings, [], {})
    name = "workers"

    with pytest.raises(ValueError, match="frozen"):
        setattr(found, name, 2)


NO_PORT = "needs host and port, as in mail.isp.net:25, or the path of a unix socket"
ROUTE = '[[route]]\nname = "isp"\nsmarthosts = ["mail.isp.net:587"]\n'


def test_tables_of_the_file_are_taken_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, ROUTE + ROUTE.replace("isp", "work"))

    found = read(ForwarderSettings, ["-c", path, SMARTHOST], {})

    assert [(route.name, route.smarthosts) for route in found.route] == [
        ("isp", ("mail.isp.net:587",)),
        ("work", ("mail.work.net:587",)),
    ]
    assert read(ReceiverSettings, ["-c", path], {}).port == 25


def test_a_problem_in_a_table_names_the_table_and_the_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f'{ROUTE}pasword = "secret"\n'
        '[[route]]\nname = "work"\nsmarthosts = ["mail.work.net:587", "backup"]\nretry_first = 0\n'
        "[[route]]\nconnections = 0\n",
    )

    found = problems(ForwarderSettings, ["-c", path, SMARTHOST])

    assert found == [
        f"[[route]] 1 ('isp') in {path}, line 4, pasword: there is no such option",
        f"[[route]] 2 ('work') in {path}, line 7, smarthosts, item 2: 'backup': {NO_PORT}",
        f"[[route]] 2 ('work') in {path}, line 8, retry_first: 0: must be greater than 0",
        f"[[route]] 3 in {path}, line 9, name: is missing",
        f"[[route]] 3 in {path}, line 9, smarthosts: is missing",
        f"[[route]] 3 in {path}, line 10, connections: 0: must be greater than or equal to 1",
    ]


def test_tables_of_one_kind_have_different_names(tmp_path: Path) -> None:
    path = write(tmp_path, ROUTE + ROUTE)

    assert problems(ForwarderSettings, ["-c", path, SMARTHOST]) == [
        f"[[route]] in {path}, line 1: several are named isp; each needs a name of its own"
    ]


def test_what_is_wrong_with_routes_is_not_blamed_on_the_smarthost(tmp_path: Path) -> None:
    path = write(tmp_path, '[[route]]\nname = "all"\n')

    assert problems(ForwarderSettings, ["-c", path]) == [
        f"[[route]] 1 ('all') in {path}, line 1, smarthosts: is missing"
    ]


def routed(folder: Path, text: str) -> Routes:
    path = write(folder, text)
    return read(ForwarderSettings, ["-c", path], {}).routes


def test_a_route_takes_what_it_does_not_say_from_all_mail(tmp_path: Path) -> None:
    found = routed(
        tmp_path,
        'forward_to = "s:25"\nretry_first = 5\nretry_longest = 50\nmax_age = 500\n'
        f"{ROUTE}max_age = 99\n{ROUTE.replace('isp', 'slow')}retry_first = 100\n",
    )

    assert [route.schedule for route in found.listed] == [
        Schedule(first=5, longest=50, max_age=99),
        Schedule(first=100, longest=100, max_age=500),
    ]
    assert found.default == Route(
        name="default",
        smarthosts=("s:25",),
        schedule=Schedule(first=5, longest=50, max_age=500),
    )


def test_a_route_says_everything_about_its_servers(tmp_path: Path) -> None:
    (found,) = routed(
        tmp_path,
        f'{ROUTE}sender = ["a.example"]\nrecipient = ["*.b"]\nuser = ["*"]\naccount = "isp"\n'
        'tls = "required"\ntls_verify = true\nconnections = 2\nrate = "30/m"\n'
        'envelope_from = "c.example"\n[[route]]\nname = "rest"\nsmarthosts = ["/run/s"]\n',
    ).listed[:1]

    assert found == Route(
        name="isp",
        smarthosts=("mail.isp.net:587",),
        sender=("a.example",),
        recipient=("*.b",),
        user=("*",),
        account="isp",
        tls="required",
        tls_verify=True,
        connections=2,
        rate=Rate(30, 60),
        envelope_from="c.example",
    )


def test_only_a_route_for_all_mail_makes_forward_to_superfluous(tmp_path: Path) -> None:
    assert routed(tmp_path, ROUTE).default is None

    path = write(tmp_path, f'{ROUTE}sender = ["<>"]\n')
    (problem,) = problems(ForwarderSettings, ["-c", path])

    assert "nowhere for mail that fits no [[route]]" in problem


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('sender = ["@a"]', "sender, item 1: '@a': write user@domain"),
        ("recipient = []", "recipient: []: must have at least one"),
        ('rate = "fast"', "rate: 'fast': write messages and time"),
        ('tls = "yes"', "tls: 'yes': must be 'off', 'opportunistic', 'required' or 'implicit'"),
        ('envelope_from = "<a@b>"', "envelope_from: '<a@b>': must be an address or a domain"),
        ("smarthosts = []", "smarthosts: []: must have at least one"),
    ],
)
def test_a_bad_value_in_a_route_is_told_what_is_allowed(
    tmp_path: Path, line: str, reason: str
) -> None:
    text = ROUTE if not line.startswith("smarthosts") else "[[route]]\nname = 'isp'\n"
    path = write(tmp_path, f"{text}{line}\n")

    (problem,) = problems(ForwarderSettings, ["-c", path, SMARTHOST])

    assert reason in problem


def test_a_route_cannot_have_the_name_of_a_built_in_one(tmp_path: Path) -> None:
    path = write(tmp_path, ROUTE.replace("isp", "default"))

    (problem,) = problems(ForwarderSettings, ["-c", path, SMARTHOST])

    assert "built-in route" in problem


@pytest.mark.parametrize("text", ["[route]\nname = 'isp'\n", "route = 'isp'\n"])
def test_a_table_in_single_brackets_is_told_to_use_double_ones(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)

    (problem,) = problems(ForwarderSettings, ["-c", path, SMARTHOST])

    assert "write its name in double brackets" in problem


def test_a_table_has_no_flag_and_no_variable() -> None:
    found = problems(ForwarderSettings, [SMARTHOST, "--route=isp"], {"EMAILRELAY_ROUTE": "isp"})

    assert found == [
        "--route: can stand only in the settings file, as [[route]]",
        "EMAILRELAY_ROUTE: can stand only in the settings file, as [[route]]",
    ]


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
