"""Names that resemble a setting, and the advice about them."""

from pathlib import Path

import pytest
from tests.unit.settings_problems import SMARTHOST, problems, write

from emailrelay.config import (
    SERVICES,
    FilterdSettings,
    ForwarderSettings,
    ReceiverSettings,
    flags,
    load,
    read,
)
from emailrelay.config.reading import collect


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
            f"{variable}: unknown variable; did you mean {meant}?"
        ]


def test_a_variable_that_resembles_no_setting_is_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAILRELAY_MOOD", "good")

    assert load(FilterdSettings, []).workers == 1
    assert capsys.readouterr().err == (
        "emailrelay-filterd: warning: EMAILRELAY_MOOD: unknown variable, so it has no effect\n"
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
        f"{word} in {path}, line 1: unknown setting; did you mean {meant}?"
    ]


@pytest.mark.parametrize("word", ["mood", "tcp", "kubernetes_ingress", "x"])
def test_a_word_that_resembles_no_setting_gets_no_advice(word: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{word} = 1\n")

    assert problems(FilterdSettings, ["-c", path]) == [f"{word} in {path}, line 1: unknown setting"]


def test_a_near_miss_in_a_table_is_told_the_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[[route]]\nname = 'a'\nsmarthost = 'x:25'\nsmarthosts = ['x:25']\n"
        "[[account]]\nname = 'b'\nuser = 'b'\npassword_file = '/b'\npasword = 'open sesame'\n",
    )

    assert problems(ForwarderSettings, ["-c", path]) == [
        (
            f"[[route]] 1 ('a') in {path}, line 3, smarthost: unknown setting;"
            " did you mean smarthosts?"
        ),
        (
            f"[[account]] 1 ('b') in {path}, line 9, pasword: unknown setting;"
            " did you mean password_file?"
        ),
    ]


def test_a_password_in_a_url_is_not_shown() -> None:
    (problem,) = problems(FilterdSettings, ["--workers=postgresql://u:open@h/m?password=sesame"])

    assert "postgresql://u:***@h/m?password=***" in problem
