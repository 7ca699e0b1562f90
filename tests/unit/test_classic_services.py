"""The services that the legacy options need, and their flags."""

import re
from typing import get_origin

import pytest

from emailrelay.classic import help_text, rules, services
from emailrelay.classic.command_line import GivenOptions, parse
from emailrelay.classic.option import Option, OptionKind, OptionUse
from emailrelay.classic.options import OPTIONS
from emailrelay.classic.services import Plan
from emailrelay.config import SERVICES, read
from emailrelay.terminal.help_page import render


def planned(line: str) -> Plan:
    asked, wrong = parse(line.split(), lambda _path: "")
    expanded, contradictions = rules.expand(asked)
    assert [*wrong, *contradictions, *rules.problems(expanded)] == []
    return services.plan(expanded)


def complaints(line: str) -> list[str]:
    asked = rules.expand(parse(line.split(), lambda _path: "")[0])[0]
    return services.problems(services.plan(asked), asked, {})


@pytest.mark.parametrize(
    ("line", "names", "first"),
    [
        ("", ["receiver"], False),
        ("--as-server", ["receiver"], False),
        ("--as-server --filter exit:0", ["receiver", "filterd"], False),
        ("--as-proxy h:25", ["receiver", "forwarder"], False),
        ("--as-server --forward-to h:25 --poll 9", ["receiver", "forwarder"], False),
        ("-d -o h:25 --forward-on-disconnect", ["receiver", "forwarder"], False),
        ("-d -o h:25 --forward", ["receiver"], True),
        ("-d -o h:25 --admin 2526", ["receiver"], False),
        ("--as-client h:25", [], True),
        ("--dont-serve -o h:25 --poll 9", ["forwarder"], False),
        ("--no-smtp --admin 2526", [], False),
        (
            "--as-server --filter exit:0 -o h:25 --poll 9",
            ["receiver", "filterd", "forwarder"],
            False,
        ),
    ],
)
def test_only_the_services_that_are_needed_run_in_the_order_of_their_end(
    line: str,
    names: list[str],
    first: bool,  # noqa: FBT001 - a row of the table
) -> None:
    plan = planned(line)
    assert [service.name for service in plan.long_running] == names
    assert plan.forward_first is first


@pytest.mark.parametrize(
    ("line", "ack"),
    [
        ("--as-server", "stored"),
        ("--as-server --filter exit:0", "filtered"),
        ("--as-proxy h:25", "delivered"),
        ("--as-proxy h:25 --filter exit:0", "delivered"),
    ],
)
def test_the_moment_of_the_answer_follows_from_the_form(line: str, ack: str) -> None:
    receiver = planned(line).receiver
    assert receiver is not None
    assert f"--ack={ack}" in receiver.flags


def test_each_service_gets_the_settings_that_it_has_and_no_others() -> None:
    plan = planned(
        "-d -s /sp -r --size 9 -D me.net -z exit:0,exit:1 -o h:25 -O 7 -U 3 -p 2525 -I 127.0.0.1"
    )
    assert plan.receiver is not None
    assert plan.filterd is not None
    assert plan.forwarder is not None
    assert set(plan.receiver.flags) == {
        *("--log-format=json", "--spool-dir=/sp", "--remote-clients=yes", "--size=9"),
        *("--domain=me.net", "--filter=exit:0", "--filter=exit:1", "--ack=filtered"),
    }
    assert set(plan.filterd.flags) == {
        *("--log-format=json", "--spool-dir=/sp", "--filter=exit:0", "--filter=exit:1"),
        "--domain=me.net",
    }
    assert set(plan.forwarder.flags) == {
        *("--log-format=json", "--spool-dir=/sp", "--domain=me.net", "--forward-to=h:25"),
        *("--poll=7", "--connection-timeout=3", "--bounces=no", "--keep-failed=0"),
    }


def test_both_services_of_a_proxy_check_recipients() -> None:
    plan = planned("--as-proxy h:25 --verify-recipients")
    assert plan.receiver is not None
    assert plan.forwarder is not None
    assert "--verify-recipients=yes" in plan.receiver.flags
    assert "--verify-recipients=yes" in plan.forwarder.flags
    assert complaints("--as-proxy h:25 --verify-recipients") == []


def test_one_pass_over_the_spool_does_not_poll() -> None:
    once = planned("-d -o h:25 --poll 7").once
    assert once is not None
    assert "--once" in once.flags
    assert not any(flag.startswith("--poll") for flag in once.flags)


def test_an_option_without_its_list_stands_alone() -> None:
    receiver = planned("--as-server --anonymous").receiver
    assert receiver is not None
    assert "--anonymous" in receiver.flags


def test_the_services_are_asked_about_values_and_all_problems_are_given_once() -> None:
    found = complaints("-d -o nohost --poll 0 --size many --filter-timeout -3 --filter exit:0")
    assert sorted(problem.split(": ")[0] for problem in found) == [
        "--forward-to",
        "--poll",
        "--size",
    ]


@pytest.mark.parametrize("shorthand", ["--as-client", "--as-proxy"])
def test_a_target_is_named_as_it_was_said(shorthand: str) -> None:
    (found,) = complaints(f"{shorthand} nohost")
    assert found.startswith(f"{shorthand}: 'nohost': needs host and port")


def test_some_and_all_contradict_each_other() -> None:
    (found,) = complaints("-y h:25 --forward-to-all --forward-to-some")
    assert found.startswith("--forward-to-some: contradicts")


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("in_file", [False, True])
def test_the_mechanisms_are_one_value_commas_and_all(
    side: str,
    in_file: bool,  # noqa: FBT001 - a row of the table
) -> None:
    said = f"{side}-auth-config=m:plain,login;x:cram-md5"
    words = ["--as-proxy", "h:25", *(["file"] if in_file else [f"--{said}"])]
    asked, wrong = parse(words, lambda _path: said)
    expanded, _ = rules.expand(asked)
    plan = services.plan(expanded)
    service = plan.receiver if side == "server" else plan.forwarder
    assert service is not None
    assert [*wrong, *services.problems(plan, expanded, {})] == []
    settings = read(service.settings, service.flags, {})
    assert getattr(settings, f"{side}_auth_config") == "m:plain,login;x:cram-md5"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_is_a_list_exactly_where_the_services_take_one(option: Option) -> None:
    for service in SERVICES:
        info = service.model_fields.get(option.setting)
        if info is not None and option.use is OptionUse.SERVICES:
            is_list = option.kind in {OptionKind.LIST, OptionKind.OPTIONAL}
            assert is_list is (get_origin(info.annotation) is list)


def test_a_flag_that_is_switched_off_reaches_the_services() -> None:
    once = planned("--as-client h:25 --client-tls=no").once
    assert once is not None
    settings = read(once.settings, once.flags, {"EMAILRELAY_CLIENT_TLS": "yes"})
    assert settings.model_dump()["client_tls"] is False


@pytest.mark.parametrize("line", ["--as-server", "--as-client h:25", "--as-proxy h:25"])
def test_an_empty_list_of_tls_details_is_none(line: str) -> None:
    assert complaints(f"{line} --tls-config=") == []


def test_the_versions_of_tls_count_on_both_sides() -> None:
    plan = planned("--as-proxy h:25 --tls-config tlsv1.3")
    for service in (plan.receiver, plan.forwarder):
        assert service is not None
        assert "--tls-config=tlsv1.3" in service.flags


def test_the_services_take_the_flags_that_they_are_given() -> None:
    line = (
        "-d -r -z exit:0 -W 3 -A -M 7 -Z=-dsn -c=-size --idle-timeout 9 -D me -o h:25 -O 1 -6 ::1 "
        "-U 1 -T 2 -w 3"
    )
    assert complaints(line) == []


def test_what_no_service_can_do_is_refused_and_not_ignored() -> None:
    missing = [option for option in OPTIONS if not services.available(option)]
    assert "pop" in {option.name for option in missing}
    values = {option.name: ("x",) for option in missing}
    assert services.problems(services.plan(GivenOptions({})), GivenOptions(values), {}) == [
        f"--{name}: not available yet in this version" for name in values
    ]


def test_the_help_shows_every_option_and_sets_apart_what_is_missing() -> None:
    text = render(help_text.page(complete=True, available=services.available), 80)
    before, after = text.split("Not available yet:")
    for option in OPTIONS:
        place = before if services.available(option) else after
        assert re.search(rf"--{option.name}\b", place), option.name
    short = render(help_text.page(complete=False, available=services.available), 80)
    assert "--pop" not in short
    assert all(len(line) <= 80 for line in [*text.splitlines(), *short.splitlines()])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_of_the_services_has_the_description_of_the_setting(option: Option) -> None:
    assert option.text.endswith(".")
    if option.use is OptionUse.SERVICES:
        assert option.own_text == ""
    assert "_" not in option.text.replace("EMAILRELAY_", "")
