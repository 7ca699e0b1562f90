"""Settings written as a file are the same settings when they are read."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.config import (
    SERVICES,
    FilterdSettings,
    ForwarderSettings,
    ReceiverSettings,
    Settings,
    read,
    write,
)

ROUTES = """
forward_to = "mail.isp.test:25"
poll = 0.5
[[route]]
name = "isp"
sender = ["*@ex\\u00e4mple.test", "\\"q\\"@b.test"]
smarthosts = ["one.test:25", "two.test:587"]
"""


@pytest.mark.parametrize(
    ("settings", "argv"),
    [
        (ReceiverSettings, ["--port=2525", "--interface=fd#7,::1", "--anonymous", "--size=0"]),
        (ReceiverSettings, ["--filter=/with space,exit:0", "--ack=filtered", "--remote-clients"]),
        (FilterdSettings, ['--filter=/a"b\\c\x7f\n', "--retry-first=0.25", "--debug=no"]),
        (ForwarderSettings, ["--forward-to=h:25", "--once", "--spool-dir=/sp"]),
    ],
)
def test_what_was_given_is_read_back(
    tmp_path: Path, settings: type[Settings], argv: list[str]
) -> None:
    before = read(settings, argv, {})
    file = tmp_path / "x.toml"
    file.write_text(write(before))
    assert read(settings, ["--config", str(file)], {}) == before


def test_tables_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(ROUTES)
    before = read(ForwarderSettings, ["--config", str(file)], {})
    file.write_text(write(before))
    assert read(ForwarderSettings, ["--config", str(file)], {}) == before


@pytest.mark.parametrize("service", SERVICES)
def test_defaults_are_left_to_the_reader(service: type[Settings]) -> None:
    given = {"forward_to": "h:25"} if service is ForwarderSettings else {}
    text = write(service.model_validate(given))
    assert tomllib.loads(text) == given


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_text_is_read_back(text: str) -> None:
    settings = FilterdSettings.model_construct(_fields_set={"store"}, store=text)
    assert tomllib.loads(write(settings)) == {"store": text}
