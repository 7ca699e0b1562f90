"""``rewrite:``: maps, envelopes and the addresses in headers."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.service.filtering import CONTENT, DEADLINE, ENVELOPE, PAGE, Desk, envelope_of, trouble

from emailrelay.config import FilterdSettings, read
from emailrelay.envelope import NULL_SENDER, Address
from emailrelay.errors import ConfigError
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.shipped.address_spans import address_spans
from emailrelay.filters.shipped.rewrite import rewritten_field
from emailrelay.filters.shipped.rewrite_map import RewriteMapUnusable, parse_map
from emailrelay.filters.spec import parse_chain, unstartable
from emailrelay.filters.verdict import Accept

(MAP,) = re.findall(r"```\n(# one address[^`]*)```", PAGE)
FOUND = parse_map(MAP, "mail.host")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        (tmp_path / "map").write_text(MAP)
        yield Desk(tmp_path, programs)


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(map(Address, texts))


@pytest.mark.parametrize(
    ("address", "targets"),
    [
        ("Sales@Example.COM", ["ann@example.com", "bob@example.com"]),
        ("Joe@old.example", ["Joe@example.com"]),
        ("sales@old.example", ["ann@example.com", "bob@example.com"]),
        ("root", ["admin@example.com"]),
        ("root@localhost", ["admin@example.com"]),
        ("ROOT@Mail.Host", ["admin@example.com"]),
        ("root@other.host", ["root@other.host"]),
        ("boss@example.com", ["boss@example.com", "secretary@example.com"]),
        ("joe@sub.old.example", ["joe@sub.old.example"]),
        ('"a@old.example"', ['"a@old.example"']),
    ],
)
def test_map_of_the_page_does_what_it_says(address: str, targets: list[str]) -> None:
    assert list(FOUND.resolve(Address(address))) == targets


def test_loops_end() -> None:
    found = parse_map("@a @b\n@b @c\n@c @a\nx@y x@y", "h")
    assert found.resolve(Address("me@a")) == ("me@a",)
    assert found.resolve(Address("x@y")) == ("x@y",)
    wide = parse_map("".join(f"@{n} a@{n + 1}, b@{n + 1}\n" for n in range(60)), "h")
    assert len(wide.resolve(Address("a@0"))) <= 1000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a", "line 1: a: has no address"),
        ("\n# x\na b", "line 3: 'b': must be user@domain, or @domain"),
        ("a@b c@d,", "line 1: '': must be"),
        ("a@b c@d\nA@B c@d", "line 2: A@B: is there twice"),
        ("<a@b> c@d", "line 1: '<a@b>': must be user@domain, @domain, or a name"),
        ("a@b@c d@e\n" * 7, "and 2 more"),
    ],
)
def test_wrong_lines_are_named(text: str, told: str) -> None:
    with pytest.raises(RewriteMapUnusable, match=re.escape(told)):
        parse_map(text, "h")


async def test_envelope_and_header_get_the_addresses(desk: Desk) -> None:
    content = (
        b'From: "root, (x)" <root@localhost>\r\nTo: joe@old.example (Joe),\r\n'
        b" Sales <sales@example.com>; x:y@old.example\r\nX-To: joe@old.example\r\n\r\nroot\r\n"
    )
    envelope = ENVELOPE._replace(
        sender=Address("root"),
        to_remote=addresses("sales@example.com", "ann@example.com", "joe@old.example"),
        to_local=addresses("root"),
    )
    copy = desk.copy(content, envelope)
    assert (await desk.ask(f"rewrite:{desk.folder}/map", copy=copy)).verdict == Accept()
    assert envelope_of(copy) == envelope._replace(
        sender=Address("admin@example.com"),
        to_remote=addresses("ann@example.com", "bob@example.com", "joe@example.com"),
    )
    assert copy.content.read_bytes() == (
        b'From: "root, (x)" <admin@example.com>\r\nTo: joe@example.com (Joe),\r\n'
        b" Sales <sales@example.com>; x:y@example.com\r\nX-To: joe@old.example\r\n\r\nroot\r\n"
    )


async def test_message_without_such_addresses_is_not_touched(desk: Desk) -> None:
    copy = desk.copy(CONTENT, ENVELOPE._replace(sender=NULL_SENDER))
    before = copy.content.stat().st_ino, copy.envelope.stat().st_ino
    assert (await desk.ask(f"rewrite:{desk.folder}/map", copy=copy)).verdict == Accept()
    assert (copy.content.stat().st_ino, copy.envelope.stat().st_ino) == before


async def test_table_of_the_page_rewrites_recipients_only(desk: Desk, tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n([^`]*?\[\[rewrite\]\][^`]*?)```", PAGE)
    file = tmp_path / "relay.toml"
    file.write_text(text.replace("/etc/emailrelay/addresses", str(tmp_path / "map")))
    settings = read(FilterdSettings, [f"--config={file}"], {})
    desk.tables = settings.filter_tables
    envelope = ENVELOPE._replace(sender=Address("root"), to_remote=addresses("root"))
    content = b"From: root\r\n\r\n"
    copy = desk.copy(content, envelope)
    assert (await desk.ask(*settings.filter, copy=copy)).verdict == Accept()
    assert envelope_of(copy) == envelope._replace(to_remote=addresses("admin@example.com"))
    assert copy.content.read_bytes() == content


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b" a@b", [b"a@b"]),
        (b" a@b, c@d ,e@f", [b"a@b", b"c@d", b"e@f"]),
        (b" Me <a@b>, <c@d>", [b"a@b", b"c@d"]),
        (b' "Me <x@y>" <a@b>', [b"a@b"]),
        (b' "x\\"@y" (c@d, (e@f) \\) g@h) <a@b>', [b"a@b"]),
        (b" team: a@b, Me <c@d>; e@f", [b"a@b", b"c@d", b"e@f"]),
        (b" Undisclosed recipients:;", []),
        (b' "a b"@c', [b'"a b"@c']),
        (b" a@[IPv6:::1]", [b"a@[IPv6:::1]"]),
        (b"\r\n\t< a@b >\r\n", [b"a@b"]),
        (b" John Doe", []),
        (b" <>", []),
        (b" root", [b"root"]),
        (b" a@b <c@d> e", [b"c@d"]),
    ],
)
def test_addresses_of_a_field_are_found(text: bytes, found: list[bytes]) -> None:
    assert [text[span.start : span.end] for span in address_spans(text)] == found


@given(st.lists(st.sampled_from([*'<>()[],;:@"\\ a\r\n\0é', "a@b", "root"])))
def test_odd_fields_have_places_in_order_and_raise_nothing(pieces: list[str]) -> None:
    text = "".join(pieces).encode()
    at = 0
    for span in address_spans(text):
        assert at <= span.start < span.end <= len(text)
        at = span.end
    rewritten_field(b"To:" + text, FOUND)


@pytest.mark.parametrize("piece", [b"(", b"<", b'"', b"[", b"a@b,", b"\\", b"a ", b"(\\"])
def test_hostile_fields_cost_no_more_than_their_octets(piece: bytes) -> None:
    field = b"To: " + piece * (1_000_000 // len(piece)) + b"\r\n"
    assert rewritten_field(field, FOUND) == field


async def test_unusable_map_is_named_at_the_start_and_holds_mail_back(desk: Desk) -> None:
    spec = f"rewrite:{desk.folder}/map"
    assert unstartable(parse_chain([spec])) == {}
    (desk.folder / "map").write_text("a b")
    assert "line 1: 'b'" in unstartable(parse_chain([spec]))[spec]
    assert "line 1: 'b'" in trouble(await desk.ask(spec))
    (desk.folder / "map").unlink()
    assert "cannot be read" in trouble(await desk.ask(spec))


def test_wrong_specs_and_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write the path of a map with a slash"):
        parse_chain(["rewrite:x"])
    file = tmp_path / "relay.toml"
    keys = "senders = false\nrecipients = false\nheaders = false"
    file.write_text(f'[[rewrite]]\nname = "r"\nmap_file = "/m"\n{keys}\n')
    with pytest.raises(ConfigError, match="needs one of senders, recipients and headers"):
        read(FilterdSettings, [f"--config={file}"], {})
