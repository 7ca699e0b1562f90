"""The grammar of the legacy command line and its configuration file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.classic.command_line import GivenOptions, parse
from emailrelay.classic.option import OptionGroup, OptionKind
from emailrelay.classic.options import BY_NAME, OPTIONS
from emailrelay.config import ReceiverSettings


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def good(*argv: str, text: str | None = None) -> GivenOptions:
    asked, problems = parse(argv, no_file if text is None else lambda _path: text)
    assert problems == []
    return asked


def bad(*argv: str, text: str | None = None) -> list[str]:
    return parse(argv, no_file if text is None else lambda _path: text)[1]


@pytest.mark.parametrize(
    "argv",
    [("--port", "2525"), ("--port=2525",), ("-p", "2525"), ("-p=2525",), ("-rlp", "2525")],
)
def test_a_value_may_be_given_in_each_of_the_old_ways(argv: tuple[str, ...]) -> None:
    assert good(*argv).value("port") == "2525"


def test_letters_of_flags_can_be_clustered() -> None:
    asked = good("-rlv")
    assert all(asked.on(name) for name in ("remote-clients", "log", "verbose"))


@pytest.mark.parametrize(
    ("word", "on"), [("yes", True), ("1", True), ("no", False), ("OFF", False)]
)
def test_a_flag_can_be_switched(word: str, on: bool) -> None:  # noqa: FBT001 - a row of the table
    assert good(f"--log={word}").on("log") is on


def test_lists_are_joined_from_repetitions_and_commas() -> None:
    asked = good("--filter", "/bin/a,/bin/b", "-z", "exit:0")
    assert asked.values_of("filter") == ("/bin/a", "/bin/b", "exit:0")


def test_commas_between_quotes_belong_to_a_filter() -> None:
    asked = good("--filter", '"header:add=X-Note: a,b",/bin/a', "-z", 'exit:0,"/bin/c,d"')
    assert asked.values_of("filter") == (
        '"header:add=X-Note: a,b"',
        "/bin/a",
        "exit:0",
        '"/bin/c,d"',
    )
    in_file = good("f", text='filter exit:0,"/bin/c,d"\n')
    assert in_file.values_of("filter") == ("exit:0", '"/bin/c,d"')
    first_quoted_too = good("f", text='filter "/bin/a,b","/bin/c,d"\n')
    assert first_quoted_too.values_of("filter") == ('"/bin/a,b"', '"/bin/c,d"')


@pytest.mark.parametrize(
    ("value", "filters"),
    [
        ('"/bin/a,b"', ('"/bin/a,b"',)),
        ('"header:add=X-Note: a, b"', ('"header:add=X-Note: a, b"',)),
        ('"/bin/a, exit:0"', ("/bin/a", "exit:0")),
        ('"/bin/a b"', ("/bin/a b",)),
        ('"bin/a.sh,bin/b.sh"', ("bin/a.sh", "bin/b.sh")),
        ('"bin/a,b"', ('"bin/a,b"',)),
        ('"/bin/true,"', ("/bin/true",)),
        ('"a,b"', ("a", "b")),
        ('""', ()),
    ],
)
def test_quotes_in_the_file_are_around_one_filter_or_a_list(
    value: str, filters: tuple[str, ...]
) -> None:
    for line in (f"filter {value}", f"filter={value}"):
        assert good("f", text=f"{line}\n").values_of("filter") == filters


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("pid-file /run/pid # of the relay", "/run/pid"),
        ("pid-file=/run/pid\t#old", "/run/pid"),
        ("pid-file /run/a#b", "/run/a#b"),
        ('pid-file "/run/a # b" # it has a blank', "/run/a # b"),
        ("# first\n  # second\npid-file /run/pid", "/run/pid"),
    ],
)
def test_a_number_sign_after_a_blank_begins_a_comment(line: str, value: str) -> None:
    assert good("f", text=f"{line}\n").value("pid-file") == value


def test_the_value_of_an_unknown_option_is_no_file() -> None:
    assert bad("--pole", "4", "--log") == ["--pole: unknown option; did you mean --poll?"]


@pytest.mark.parametrize(("argv", "text"), [(("--in-port", "25"), None), (("f",), "in-port 25")])
def test_instances_by_prefix_are_refused_with_a_remedy(
    argv: tuple[str, ...], text: str | None
) -> None:
    (problem,) = bad(*argv, text=text)
    assert "in-port: instances with a prefix, such as in-, are not available yet" in problem
    assert "a spool directory and ports of its own" in problem


def test_an_optional_value_needs_the_equals_sign() -> None:
    assert good("--anonymous", "--log").values_of("anonymous") == ()
    assert good("--anonymous").on("anonymous")
    assert good("--anonymous=vrfy,server").values_of("anonymous") == ("vrfy", "server")
    assert good("--syslog=local3").value("syslog") == "local3"


@pytest.mark.parametrize(
    ("argv", "facility"),
    [([], "mail"), (["--syslog"], "mail"), (["--syslog=local3"], "local3")],
)
def test_an_option_without_a_value_has_its_default(argv: list[str], facility: str) -> None:
    assert good(*argv).value_or_default("syslog") == facility


def test_the_default_of_a_setting_is_that_of_the_services() -> None:
    assert good().value_or_default("port") == str(ReceiverSettings.model_fields["port"].default)


def test_an_empty_value_is_a_value() -> None:
    assert good("--tls-config", "").on("tls-config")
    assert good("--tls-config=").on("tls-config")


def test_the_file_is_read_and_the_command_line_goes_before_it() -> None:
    text = """
        # a comment
        port 2525
        spool-dir="/var/my spool"
        remote-clients
        log no
        filter = /bin/a
        filter /bin/b
    """
    asked = good("--port", "2526", "relay.conf", text=text)
    assert asked.value("port") == "2526"
    assert asked.value("spool-dir") == "/var/my spool"
    assert asked.on("remote-clients")
    assert not asked.on("log")
    assert asked.values_of("filter") == ("/bin/a", "/bin/b")


def test_a_flag_switched_off_on_the_command_line_stays_off() -> None:
    assert not good("--log=no", "relay.conf", text="log\n").on("log")


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--prot", "25"], "--prot: unknown option; did you mean --port?"),
        (["--por", "25"], "--por:"),
        (["-%"], "-%: unknown option"),
        (["--port"], "--port: needs a value, as in --port PORT"),
        (["--port", "--log"], "--port: needs a value"),
        (["-pl", "25"], "-p: needs a value"),
        (["--log=perhaps"], "--log: takes yes or no, not 'perhaps'"),
        (["--port", "1", "--port", "2"], "--port: given twice, as '1' and as '2'"),
        (["a.conf", "b.conf"], "only one configuration file"),
        (["a.conf"], "a.conf: cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_is_named(argv: list[str], named: str) -> None:
    assert any(problem.startswith(named) or named in problem for problem in bad(*argv))


def test_every_problem_is_found_at_once() -> None:
    found = bad("--nonsense", "--port", "-%", "x.conf", text="strange 1\nport\n")
    assert [problem.split(": ")[0] for problem in found if "config" not in problem] == [
        "--nonsense",
        "--port",
        "-%",
        "x.conf:1",
        "x.conf:2",
    ]


@given(st.lists(st.text(max_size=12), max_size=6), st.text(max_size=60))
def test_any_words_are_read_without_an_exception(words: list[str], text: str) -> None:
    asked, problems = parse(words, lambda _path: text)
    assert set(asked.values) <= set(BY_NAME)
    assert all(isinstance(problem, str) for problem in problems)


def test_names_and_letters_are_unique_and_lists_have_words() -> None:
    letters = [option.letter for option in OPTIONS if option.letter]
    assert len(BY_NAME) == len(OPTIONS)
    assert len(set(letters)) == len(letters)
    assert all(
        o.word
        for o in OPTIONS
        if o.kind is not OptionKind.FLAG and o.group is not OptionGroup.LATER
    )


def test_a_near_miss_is_told_the_option() -> None:
    assert bad("--prot", "--smarthost=x:25") == [
        "--prot: unknown option; did you mean --port?",
        "--smarthost: unknown option; did you mean --forward-to?",
    ]
