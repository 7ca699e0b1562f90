"""Tables of the settings file: routes and their servers."""

from pathlib import Path

import pytest
from tests.unit.settings_problems import SMARTHOST, problems, write

from emailrelay.config import FilterdSettings, ForwarderSettings, ReceiverSettings, read
from emailrelay.routes import Rate, Route, Routes
from emailrelay.schedule import Schedule

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


KEYS = (
    "account, connections, envelope_from, max_age, name, rate, recipient, retry_factor, "
    "retry_first, retry_longest, sender, smarthosts, tls, tls_verify, user"
)


def test_a_problem_in_a_table_names_the_table_and_the_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f'{ROUTE}pasword = "secret"\n'
        '[[route]]\nname = "work"\nsmarthosts = ["mail.work.net:587", "backup"]\nretry_first = 0\n'
        "[[route]]\nconnections = 0\n",
    )

    found = problems(ForwarderSettings, ["-c", path, SMARTHOST])

    assert found == [
        f"[[route]] 1 ('isp') in {path}, line 4, pasword: unknown setting; the table has {KEYS}",
        f"[[route]] 2 ('work') in {path}, line 7, smarthosts, item 2: 'backup': {NO_PORT}",
        f"[[route]] 2 ('work') in {path}, line 8, retry_first: 0: must be greater than 0",
        f"[[route]] 3 in {path}, line 9, name: is missing",
        f"[[route]] 3 in {path}, line 9, smarthosts: is missing",
        f"[[route]] 3 in {path}, line 10, connections: 0: must be greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('smarthosts = "s:25"', 'must be a list, as in ["text"]'),
        ('smarthosts = ["s:25"]\nsender = "example.com"', 'must be a list, as in ["text"]'),
        ("smarthosts = [25]", 'must be a text in quotes, as in "text"'),
    ],
)
def test_a_value_of_another_kind_is_told_the_kind_in_words(
    line: str, sentence: str, tmp_path: Path
) -> None:
    path = write(tmp_path, f'[[route]]\nname = "r"\n{line}\n')

    (problem,) = problems(ForwarderSettings, ["-c", path, SMARTHOST])
    assert problem.endswith(sentence)


def test_a_name_of_odd_characters_is_told_the_permitted_ones(tmp_path: Path) -> None:
    path = write(tmp_path, ROUTE.replace('"isp"', '"x y"'))

    (problem,) = problems(ForwarderSettings, ["-c", path, SMARTHOST])
    assert problem.endswith("'x y': must be a short name of letters, digits and hyphens")


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

    assert "no server for mail that matches no [[route]]" in problem


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


def test_an_argument_with_a_nul_is_refused_at_the_start(tmp_path: Path) -> None:
    table = '[[pipe]]\nname = "p"\nprogram = "/bin/true"\narguments = ["good", "a\\u0000b"]\n'
    (problem,) = problems(FilterdSettings, ["-c", write(tmp_path, table)])
    assert "[[pipe]] 1 ('p')" in problem
    assert "arguments, item 2" in problem
    assert problem.endswith("must not contain NUL, which no program can get")
