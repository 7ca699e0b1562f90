"""``split:`` and ``mx:``: envelopes for each domain, and servers from a real name server."""

import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.name_server import SERVFAIL, name_server
from tests.service.filtering import (
    CONTENT,
    DEADLINE,
    ENVELOPE,
    PAGE,
    Desk,
    envelope_of,
    refusal,
    trouble,
)

from emailrelay.config import FilterdSettings, ForwarderSettings, read
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.shipped.mx_rules import MxRecord, servers
from emailrelay.filters.shipped.splitting import by_domain
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import Accept
from emailrelay.routes import Routes

RECORDS = {
    ("two.test", "MX"): ["20 b.two.test.", "10 A.two.test."],
    ("plain.test", "A"): ["192.0.2.1"],
    ("six.test", "AAAA"): ["2001:db8::1"],
    ("text.test", "TXT"): ["nothing"],
    ("null.test", "MX"): ["0 ."],
    ("broken.test", "MX"): SERVFAIL,
    ("numbers.test", "MX"): ["10 127.0.0.1.", "20 localhost."],
    ("many.test", "MX"): [f"{n} m{n}.test." for n in range(20)],
    ("loop.test", "MX"): [f"10 {socket.gethostname()}.", "20 other.test."],
    ("xn--bcher-kva.test", "MX"): ["10 buch.test."],
    ("xn--strae-oqa.test", "MX"): ["10 weg.test."],
    ("far.test", "MX"): ["10 Full.Name.test."],
    ("named.test", "MX"): ["10 relay.test.", "20 other.test."],
    ("behind.test", "MX"): [f"20 {socket.gethostname()}.", "10 better.test.", "30 worse.test."],
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        yield Desk(tmp_path, programs)


def to(*addresses: str) -> Envelope:
    return ENVELOPE._replace(to_remote=tuple(map(Address, addresses)))


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("two.test", "a.two.test:25,b.two.test:25"),
        ("TWO.test", "a.two.test:25,b.two.test:25"),
        ("plain.test", "plain.test:25"),
        ("six.test", "six.test:25"),
        ("many.test", "m0.test:25,m1.test:25,m2.test:25,m3.test:25,m4.test:25"),
        ("behind.test", "better.test:25"),
        ("Bücher.test", "buch.test:25"),
        ("straße.test", "weg.test:25"),
    ],
)
async def test_servers_of_the_domain_are_written_into_the_envelope(
    desk: Desk, domain: str, found: str
) -> None:
    async with name_server(RECORDS) as (_, place):
        copy = desk.copy(CONTENT, to(f"a@{domain}", f"b@{domain}"))
        assert (await desk.ask(f"mx:{place}", copy=copy)).verdict == Accept()
    envelope = envelope_of(copy)
    assert envelope.forward_to_address == found
    choice = Routes().choose(envelope, Address(f"a@{domain}"))
    assert choice.route is not None
    assert list(choice.route.smarthosts) == found.split(",")


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("a@none.test", "550 5.1.2 no such domain"),
        ("a@text.test", "550 5.1.2 no such domain"),
        ("a@numbers.test", "550 5.1.2 no such domain"),
        ("a@[127.0.0.1]", "550 5.1.2 no such domain"),
        ("a@127.0.0.1", "550 5.1.2 no such domain"),
        ("a@localhost", "550 5.1.2 no such domain"),
        ("root", "550 5.1.2 no such domain"),
        ("a@" + "x" * 70 + ".test", "550 5.1.2 no such domain"),
        ("a@" + "ü" * 2000 + ".test", "550 5.1.2 no such domain"),
        ("a@null.test", "556 5.1.10 domain accepts no mail (null MX)"),
        ("a@loop.test", "554 5.4.6 mail for this domain loops back to this host"),
    ],
)
async def test_domain_without_servers_is_refused(desk: Desk, address: str, reply: str) -> None:
    async with name_server(RECORDS) as (_, place):
        spoken = await desk.ask(f"mx:{place}", copy=desk.copy(CONTENT, to(address)))
    assert str(refusal(spoken).reply) == reply


async def test_mail_that_would_come_back_under_any_name_of_this_host_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "full.name.test")
    desk.programs.domain = "Relay.test"
    async with name_server(RECORDS) as (_, place):
        for domain in ("far.test", "named.test", "loop.test"):
            spoken = await desk.ask(f"mx:{place}", copy=desk.copy(CONTENT, to(f"a@{domain}")))
            assert refusal(spoken).reply.code == 554


async def test_case_and_final_dot_and_form_do_not_make_two_domains(desk: Desk) -> None:
    same = to("a@Bücher.test", "b@bücher.test.", "c@XN--bcher-kva.test")
    assert [each.forward_to for each in by_domain(same)] == ["bücher.test"]
    async with name_server(RECORDS) as (_, place):
        copy = desk.copy(CONTENT, same)
        assert (await desk.ask(f"mx:{place}", copy=copy)).verdict == Accept()
    assert envelope_of(copy).forward_to_address == "buch.test:25"


async def test_name_server_in_trouble_and_several_domains_hold_mail_back(desk: Desk) -> None:
    async with name_server(RECORDS) as (_, place):
        copy = desk.copy(CONTENT, to("a@broken.test"))
        told = trouble(await desk.ask(f"mx:{place}", copy=copy))
        assert told.startswith("broken.test: cannot be looked up: ")
        copy = desk.copy(CONTENT, to("a@two.test", "a@plain.test"))
        assert "split: before mx:" in trouble(await desk.ask(f"mx:{place}", copy=copy))
    desk.programs.limits = ProgramLimits(timeout=0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        spec = f"mx:127.0.0.1:{silent.getsockname()[1]}"
        copy = desk.copy(CONTENT, to("a@two.test"))
        assert trouble(await desk.ask(spec, copy=copy)) == "no verdict within 0.3 s"


async def test_message_with_a_server_stays_and_a_named_domain_is_looked_up(desk: Desk) -> None:
    async with name_server(RECORDS) as (server, place):
        named = to("a@none.test")._replace(forward_to_address="192.0.2.1:25")
        copy = desk.copy(CONTENT, named)
        assert (await desk.ask(f"mx:{place}", copy=copy)).verdict == Accept()
        assert envelope_of(copy) == named
        assert server.asked == []
        copy = desk.copy(CONTENT, to("a@x.test", "a@y.test")._replace(forward_to="plain.test"))
        assert (await desk.ask(f"mx:{place}", copy=copy)).verdict == Accept()
        assert envelope_of(copy).forward_to_address == "plain.test:25"


def test_servers_of_equal_preference_are_in_the_order_of_chance() -> None:
    records = [MxRecord(10, "a.test"), MxRecord(10, "b.test"), MxRecord(5, "c.test")]
    chances = iter([0.9, 0.1, 0.5])
    assert servers(records, ["me"], lambda: next(chances)) == (
        "c.test:25",
        "b.test:25",
        "a.test:25",
    )


def test_recipients_are_split_by_domain() -> None:
    envelope = to("a@x", "b@y", "c@X", "d")._replace(to_local=(Address("ann"),))
    first, *others = by_domain(envelope)
    assert (first.to_local, first.to_remote, first.forward_to) == (("ann",), ("a@x", "c@X"), "x")
    assert [(each.recipients, each.forward_to) for each in others] == [
        (("b@y",), "y"),
        (("d",), ""),
    ]
    local = envelope._replace(to_remote=())
    assert by_domain(local) == [local]


async def test_parts_of_a_message_share_its_content_and_have_names_at_the_end(desk: Desk) -> None:
    copy = desk.copy(CONTENT, to("a@x", "b@y"))
    edit = desk.script('#!/bin/sh\necho changed >> "$1"; test "$(ls "${1%/*}" | wc -l)" = 4\n')
    assert (await desk.ask("split:", str(edit), copy=copy)).verdict == Accept()
    assert copy.content.read_bytes() == CONTENT + b"changed\n"
    folder = copy.content.parent
    assert (folder / "emailrelay.split-1.content").read_bytes() == CONTENT
    assert b"To-Remote: b@y\r\n" in (folder / "emailrelay.split-1.envelope.filter").read_bytes()
    copy = desk.copy(CONTENT, to("a@x", "b@y"))
    trouble(await desk.ask("split:", "/nonexistent", copy=copy))
    assert len(list(copy.content.parent.iterdir())) == 2


async def test_message_for_too_many_domains_is_refused(desk: Desk) -> None:
    copy = desk.copy(CONTENT, to(*(f"a@d{n}" for n in range(1001))))
    assert refusal(await desk.ask("split:", copy=copy)).reply.code == 552


def test_example_of_the_page_is_understood_and_wrong_places_are_refused(tmp_path: Path) -> None:
    (example,) = re.findall(r'filter = \["split:"\]\nclient_filter = .*\n', PAGE)
    file = tmp_path / "relay.toml"
    file.write_text(example)
    settings = read(FilterdSettings, ["-c", str(file)], {})
    assert [str(one) for one in settings.chain] == ["split:"]
    client = read(ForwarderSettings, ["-c", str(file)], {})
    assert [str(one) for one in client.client_chain] == ["mx:"]
    with pytest.raises(ConfigError, match="split: must be the first"):
        read(FilterdSettings, ["--filter=mx:,split:"], {})
    with pytest.raises(ConfigError, match="client filters run at each attempt"):
        read(ForwarderSettings, ["--client-filter=split:", "--forward-to=h:25"], {})
    for spec in ("split:x", "mx:a", "mx:a:53", "mx:/x", "mx:1.2.3.4:domain"):
        with pytest.raises(ConfigError, match=f"filter {spec}: "):
            parse_chain([spec])
