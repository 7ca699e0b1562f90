"""The filter spam: and the protocol of spamd."""

from pathlib import Path

import pytest
from tests.fakes.filter_servers import FakeSpamd, serving
from tests.service.network_filters.filter_server import CONTENT, DEADLINE, Desk, trouble

from emailrelay.filters.program import ProgramLimits
from emailrelay.filters.verdict import Accept, Reject
from emailrelay.reply import Reply

# spam:


async def test_spam_is_rejected_for_good_and_other_mail_passes_untouched(desk: Desk) -> None:
    spamd, copy = FakeSpamd(), desk.copy()
    async with serving(spamd) as place:
        assert (await desk.ask(f"spam:{place}", copy=copy)).verdict == Accept()
        spoken = await desk.ask(f"spam:{place}", copy=desk.copy(b"Subject: SPAM\r\n\r\n"))
    assert spoken.verdict == Reject(
        reply=Reply(550, "5.7.1 message looks like spam"), reason="spam: 15.5 of 5 points"
    )
    assert spamd.requests == [("CHECK", CONTENT), ("CHECK", b"Subject: SPAM\r\n\r\n")]
    assert copy.content.read_bytes() == CONTENT


async def test_spamd_marks_what_it_is_asked_to_edit(desk: Desk, sockets: Path) -> None:
    copy, place = desk.copy(b"Subject: SPAM\r\n\r\nbuy\r\n"), sockets / "spamd"
    async with serving(FakeSpamd(), place):
        assert (await desk.ask(f"spam-edit:{place}", copy=copy)).verdict == Accept()
    assert copy.content.read_bytes() == b"X-Spam-Flag: YES\r\nSubject: SPAM\r\n\r\nbuy\r\n"
    assert sorted(path.name for path in copy.content.parent.iterdir()) == [
        "m.content",
        "m.envelope.new",
    ]


async def test_large_message_goes_to_spamd_and_comes_back_whole(desk: Desk) -> None:
    content = b"Subject: x\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 30_000
    copy = desk.copy(content)
    desk.programs.limits = ProgramLimits(timeout=DEADLINE)
    async with serving(FakeSpamd()) as place:
        assert (await desk.ask(f"spam-edit:{place}", copy=copy)).verdict == Accept()
    assert copy.content.read_bytes() == b"X-Spam-Flag: YES\r\n" + content


@pytest.mark.parametrize(
    ("kind", "spamd", "reason"),
    [
        ("spam", FakeSpamd(status="SPAMD/1.1 79 Timeout: 30s"), "it says 79 Timeout: 30s"),
        ("spam-edit", FakeSpamd(status="SPAMD/1.1 79 Timeout: 30s"), "it says 79 Timeout: 30s"),
        ("spam", FakeSpamd(status="220 mail.test ESMTP"), "that is not spamd: b'220 mail.test"),
        ("spam", FakeSpamd(spam_line="X-Other: 1"), "its answer has no Spam: line"),
        ("spam-edit", FakeSpamd(shortened=4), "it gave only "),
        ("spam", FakeSpamd(status=f"SPAMD/1.1 {5000 * '0'} EX_OK"), "that is not spamd: "),
        (
            "spam-edit",
            FakeSpamd(status=f"SPAMD/1.1 0 EX_OK\r\nContent-length: {5000 * '1'}\r\n"),
            "its Content-length is '111",
        ),
        (
            "spam-edit",
            FakeSpamd(status=f"SPAMD/1.1 0 EX_OK\r\nContent-length: {65 * 2**20}\r\n"),
            "its message is too large: 68157440 octets in place of 25",
        ),
    ],
)
async def test_trouble_of_spamd_holds_mail_back_unchanged(
    desk: Desk, kind: str, spamd: FakeSpamd, reason: str
) -> None:
    copy = desk.copy()
    async with serving(spamd) as place:
        assert trouble(await desk.ask(f"{kind}:{place}", copy=copy)).startswith(reason)
    assert copy.content.read_bytes() == CONTENT
    assert len(list(copy.content.parent.iterdir())) == 2


async def test_content_that_an_earlier_filter_removed_is_a_rejection(desk: Desk) -> None:
    remove = desk.folder / "remove"
    remove.write_text('#!/bin/sh\nrm "$1"\n')
    remove.chmod(0o755)
    spamd = FakeSpamd()
    async with serving(spamd) as place:
        for spec in (f"spam:{place}", f"spam-edit:{place}", "msgid:"):
            verdict = (await desk.ask(str(remove), spec)).verdict
            assert isinstance(verdict, Reject)
            assert verdict.reply.code == 554
    assert spamd.requests == []
