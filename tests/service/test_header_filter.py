"""``header:``: edits of real files, their specs and their table."""

import re
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.service.filtering import DEADLINE, PAGE, Desk, refusal

from emailrelay.config import FilterdSettings, read
from emailrelay.errors import ConfigError
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.shipped.header_edits import edited_header, parse_edit
from emailrelay.filters.spec import parse_chain
from emailrelay.reply import Reply

MAIL = b"A: 1\r\nX-Note: old\r\n folded\r\nB:2\r\nx-NOTE: older\r\n\r\nbody\r\n.\r\n"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        yield Desk(tmp_path, programs)


@pytest.mark.parametrize(
    ("edit", "header"),
    [
        ("add=C: 3", b"A: 1\r\nX-Note: old\r\n folded\r\nB:2\r\nx-NOTE: older\r\nC: 3\r\n"),
        ("set=X-Note: new", b"A: 1\r\nX-Note: new\r\nB:2\r\n"),
        ("set=C: 3", b"A: 1\r\nX-Note: old\r\n folded\r\nB:2\r\nx-NOTE: older\r\nC: 3\r\n"),
        ("remove=X-Note", b"A: 1\r\nB:2\r\n"),
        ("remove=X-Not", b"A: 1\r\nX-Note: old\r\n folded\r\nB:2\r\nx-NOTE: older\r\n"),
        ("rename=x-note:Z", b"A: 1\r\nZ: old\r\n folded\r\nB:2\r\nZ: older\r\n"),
    ],
)
async def test_edits_leave_the_rest_octet_for_octet(desk: Desk, edit: str, header: bytes) -> None:
    assert await desk.edit(MAIL, f"header:{edit}") == header + b"\r\nbody\r\n.\r\n"


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b"A: 1", b"A: 1\r\nC: 3\r\n"),
        (b"\r\nbody", b"C: 3\r\n\r\nbody"),
        (b"no header: here\r\n", b"C: 3\r\n\r\nno header: here\r\n"),
        (b" A: 1\r\n", b"C: 3\r\n\r\n A: 1\r\n"),
        (b"A: 1\n\nbody\n", b"A: 1\nC: 3\r\n\nbody\n"),
        (b"A: 1\r\nno field\r\n", b"A: 1\r\nC: 3\r\n\r\nno field\r\n"),
        (b"\xff\0: 1\r\n\r\n", b"C: 3\r\n\r\n\xff\0: 1\r\n\r\n"),
    ],
)
async def test_odd_messages_get_a_field_that_is_in_the_header(
    desk: Desk, content: bytes, result: bytes
) -> None:
    assert await desk.edit(content, "header:add=C: 3") == result


async def test_message_without_a_change_is_not_written_again(desk: Desk) -> None:
    copy = desk.copy(MAIL)
    before = copy.content.stat()
    await desk.ask("header:remove=C", copy=copy)
    assert copy.content.stat().st_ino == before.st_ino


async def test_text_beyond_ascii_is_encoded_and_folded(desk: Desk) -> None:
    text = "Grüße, " * 30
    content = await desk.edit(MAIL, f'"header:add=C: {text}"')
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 76
    assert message_from_bytes(content, policy=policy.default)["C"].strip() == text.strip()


async def test_large_body_passes_and_endless_header_is_refused(desk: Desk) -> None:
    body = b"x" * 100 + b"\r\n"
    large = MAIL + body * 100_000
    assert (await desk.edit(large, "header:remove=A")) == large[6:]
    endless = desk.copy(b"A: 1\r\n" * 200_000)
    assert refusal(await desk.ask("header:remove=A", copy=endless)).reply == Reply(
        552, "5.3.4 header too long"
    )


@given(st.lists(st.sampled_from([b"A: 1\r\n", b"b :\r\n 2\r\n", b"C:\r\n"])))
def test_removal_is_of_exactly_the_named_fields(fields: list[bytes]) -> None:
    left = edited_header(fields, [parse_edit("remove=B")])
    assert left == [field for field in fields if not field.startswith(b"b")]


async def test_example_of_the_page_does_what_it_says(desk: Desk, tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n([^`]*?\[\[header\]\][^`]*?)```", PAGE)
    file = tmp_path / "relay.toml"
    file.write_text(text)
    settings = read(FilterdSettings, [f"--config={file}"], {})
    desk.tables = settings.filter_tables
    mail = b"X-Mailer: m\r\nX-Ticket: 7\r\nPrecedence: junk\r\n\r\n"
    assert await desk.edit(mail, *settings.filter) == (
        b"X-Reference: 7\r\nPrecedence: bulk\r\nX-Relay: mail.example.com, rack 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("header:", r"write an edit such as add=NAME: TEXT, or the name of a table \[\[header"),
        ("header:x", r"\(there is none\)"),
        ("header:put=A: 1", "there is no such edit; it can be remove, rename, set, add"),
        ("header:add=A", "must be one of add=NAME: TEXT"),
        ("header:remove=A: 1", "must be one of add=NAME: TEXT"),
        ("header:add=A B: 1", "must be the name of a header field"),
        ("header:add=A: a\rb", "without control characters"),
        ("header:rename=A:B C", "must be the name of a header field"),
        (f"header:add=A: {'x' * 1000}", "at most 900 octets"),
    ],
)
def test_wrong_specs_are_refused(spec: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_chain([spec])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("", "needs an edit: remove, rename, set or add"),
        ('add = { "A B" = "x" }', "must be the name of a header field"),
        ('add = { A = "x\\ny" }', "without control characters"),
        ('ad = { A = "x" }', "did you mean add"),
    ],
)
def test_wrong_tables_stop_the_start(tmp_path: Path, keys: str, told: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(f'filter = ["header:h"]\n[[header]]\nname = "h"\n{keys}\n')
    with pytest.raises(ConfigError) as caught:
        read(FilterdSettings, [f"--config={file}"], {})
    assert len(caught.value.problems) == 1
    assert re.search(rf"line [234].*{told}", caught.value.problems[0])
