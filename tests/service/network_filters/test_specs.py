"""Specs that say where a filter listens."""

import re

import pytest

from emailrelay.errors import ConfigError
from emailrelay.filters.spec import MessageIdFilter, NetFilter, SpamFilter, parse_chain
from emailrelay.host_port import HostPort, UnixPath

# Specs


def test_specs_say_where_a_filter_listens() -> None:
    specs = "net:[::1]:10025,net:/run/f.sock,spam:127.0.0.1:783,spam-edit:/run/spamd,msgid:"
    chain = parse_chain([specs])
    assert chain == (
        NetFilter(HostPort("::1", "10025")),
        NetFilter(UnixPath("/run/f.sock")),
        SpamFilter(HostPort("127.0.0.1", "783"), edit=False),
        SpamFilter(UnixPath("/run/spamd"), edit=True),
        MessageIdFilter(),
    )
    assert ",".join(map(str, chain)) == specs


@pytest.mark.parametrize(
    "spec",
    ["net:", "net:host", "net:host:0", "net:::1:25", "spam:host:smtp", "msgid:x", "net:a..b:25"]
    + [f"{kind}:{'x' * 64}.test:25" for kind in ("net", "milter", "spam", "spam-edit")],
)
def test_places_that_cannot_be_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"filter {re.escape(spec)}: "):
        parse_chain([spec])


def test_name_of_another_script_is_a_place() -> None:
    assert parse_chain(["net:b\u00fccher.example:25"]) == (
        NetFilter(HostPort("b\u00fccher.example", "25")),
    )


@pytest.mark.parametrize("spec", ["/bin/a\0b", "file:a\0b", "net:/run/a\0b", "milter:/run/a\0b"])
def test_nul_stands_in_no_spec(spec: str) -> None:
    with pytest.raises(ConfigError, match="must not contain NUL"):
        parse_chain([spec])
