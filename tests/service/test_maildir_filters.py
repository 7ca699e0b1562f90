"""``archive:``, ``copy:`` and ``deliver:``: copies in real maildirs."""

import errno
import mailbox
import os
import re
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.filtering import (
    CONTENT,
    DEADLINE,
    ENVELOPE,
    MESSAGE,
    PAGE,
    Desk,
    envelope_of,
    trouble,
)

from emailrelay.config import FilterdSettings, ForwarderSettings, read
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import parse_chain, unstartable
from emailrelay.filters.verdict import Abandon, Accept

PATH = b"Return-Path: <a@x.test>\r\n"
LOCAL = ENVELOPE._replace(to_local=(Address("ann"), Address("bob")))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        (tmp_path / "boxes").mkdir()
        yield Desk(tmp_path, programs)


def mail_in(folder: Path) -> list[bytes]:
    """Return the messages of a maildir as Python's library finds them."""
    box = mailbox.Maildir(folder, create=False)
    return [box.get_bytes(key) for key in box.keys()]  # noqa: SIM118 - a mailbox


async def test_archive_has_each_message_once_octet_for_octet(desk: Desk) -> None:
    spec = f"archive:{desk.folder}/boxes/all"
    for content in (CONTENT, b"other\r\n.\r\n\0\xff", CONTENT):
        assert await desk.edit(content, spec) == content
    (file,) = (desk.folder / "boxes/all/new").iterdir()
    assert file.read_bytes() == CONTENT
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list((desk.folder / "boxes/all/tmp").iterdir()) == []
    assert mail_in(desk.folder / "boxes/all") == [CONTENT]


async def test_copy_is_synced_before_it_has_its_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[str]()
    sync = os.fsync

    def note(descriptor: int) -> None:
        there = list((desk.folder / "boxes/all/new").iterdir())
        synced.append(f"{Path(f'/proc/self/fd/{descriptor}').readlink().parent.name}{len(there)}")
        sync(descriptor)

    await desk.edit(CONTENT, f"archive:{desk.folder}/boxes/all")
    for file in (desk.folder / "boxes/all/new").iterdir():
        file.unlink()
    monkeypatch.setattr("emailrelay.filters.shipped.maildir.os.fsync", note)
    await desk.edit(CONTENT, f"archive:{desk.folder}/boxes/all")
    assert synced == ["tmp0", "all1"]


async def test_example_of_the_page_does_what_it_says(desk: Desk, tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n([^`]*?\[\[archive\]\][^`]*?)```", PAGE)
    file = tmp_path / "relay.toml"
    file.write_text(text.replace("/var/mail", str(tmp_path / "boxes")))
    settings = read(FilterdSettings, [f"--config={file}"], {})
    desk.tables = settings.filter_tables
    assert unstartable(settings.chain) == {}
    copy = desk.copy(CONTENT, LOCAL)
    assert (await desk.ask(*settings.filter, copy=copy)).verdict == Accept()
    (day,) = (tmp_path / "boxes/archive").iterdir()
    seconds = int(MESSAGE.split(".")[0]) / 1000
    assert day.name == time.strftime("%Y-%m-%d", time.localtime(seconds))
    (written,) = (day / "new").iterdir()
    assert written.read_bytes() == (
        b"X-Envelope-From: <a@x.test>\r\nX-Envelope-To: <ann>\r\nX-Envelope-To: <bob>\r\n"
        b"X-Envelope-To: <b@y.test>\r\n" + CONTENT
    )


async def test_copy_goes_into_every_maildir_that_exists(desk: Desk) -> None:
    boxes = desk.folder / "boxes"
    for name in ("ann", "bob", ".hidden"):
        (boxes / name / "new").mkdir(parents=True)
    (boxes / "other").mkdir()
    (boxes / "file").write_text("")
    assert await desk.edit(CONTENT, f"copy:{boxes}") == CONTENT
    assert [mail_in(boxes / name) for name in ("ann", "bob")] == [[CONTENT], [CONTENT]]
    assert list((boxes / ".hidden/new").iterdir()) == []
    assert list((boxes / "other").iterdir()) == []


async def test_local_recipients_get_the_message_and_the_others_stay(desk: Desk) -> None:
    boxes = desk.folder / "boxes"
    copy = desk.copy(CONTENT, LOCAL)
    copy.envelope.write_bytes(copy.envelope.read_bytes() + b"X-MailRelay-Reason: old\r\n")
    assert (await desk.ask(f"deliver:{boxes}", copy=copy)).verdict == Accept()
    assert [mail_in(boxes / name) for name in ("ann", "bob")] == [[PATH + CONTENT]] * 2
    assert envelope_of(copy) == ENVELOPE
    assert copy.envelope.read_bytes().endswith(b"\r\nX-MailRelay-Reason: old\r\n")


async def test_message_for_local_recipients_only_is_done(desk: Desk) -> None:
    copy = desk.copy(CONTENT, Envelope(sender=Address(""), to_local=(Address("ann"),)))
    spoken = await desk.ask(f"deliver:{desk.folder}/boxes", copy=copy)
    assert spoken.verdict == Abandon(delivered=True)
    assert mail_in(desk.folder / "boxes/ann") == [b"Return-Path: <>\r\n" + CONTENT]


@pytest.mark.parametrize(
    ("content", "delivered"),
    [
        (b"A: b\r\nreturn-path: <x@y>\r\n z\r\nReturn-Path:\r\n\r\nx", b"A: b\r\n\r\nx"),
        (b"Return-Path: <x@y>\r\n\r\nReturn-Path: <x@y>\r\n", b"\r\nReturn-Path: <x@y>\r\n"),
        (b"no header\r\n", b"\r\nno header\r\n"),
        (b"A: b\r\n" * 200_000, b"A: b\r\n" * 200_000),
    ],
)
async def test_delivered_message_has_one_return_path(
    desk: Desk, content: bytes, delivered: bytes
) -> None:
    copy = desk.copy(content, LOCAL)
    assert (await desk.ask(f"deliver:{desk.folder}/boxes", copy=copy)).verdict == Accept()
    for name in ("ann", "bob"):
        (file,) = (desk.folder / "boxes" / name / "new").iterdir()
        assert file.read_bytes() == PATH + delivered
    assert copy.content.read_bytes() == content


async def test_maildir_that_cannot_be_looked_into_is_named(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = desk.folder / "boxes"
    (boxes / "ann/new").mkdir(parents=True)
    is_dir = Path.is_dir

    def refused(path: Path) -> bool:
        if path == boxes / "ann/new":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refused)
    assert trouble(await desk.ask(f"copy:{boxes}")) == f"{boxes}/ann: Permission denied"


async def test_message_for_others_is_not_touched(desk: Desk) -> None:
    copy = desk.copy()
    before = copy.envelope.stat().st_ino
    assert (await desk.ask(f"deliver:{desk.folder}/boxes", copy=copy)).verdict == Accept()
    assert copy.envelope.stat().st_ino == before
    assert list((desk.folder / "boxes").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "..", ".hidden", "a/b", "x" * 300])
async def test_mailbox_whose_name_leads_elsewhere_holds_the_mail_back(
    desk: Desk, name: str
) -> None:
    copy = desk.copy(CONTENT, Envelope(sender=Address(""), to_local=(Address(name),)))
    told = trouble(await desk.ask(f"deliver:{desk.folder}/boxes", copy=copy))
    assert told.endswith("is not a name for a mailbox")
    assert list((desk.folder / "boxes").iterdir()) == []


@pytest.mark.parametrize("kind", ["archive", "copy", "deliver"])
async def test_absent_directory_is_named_at_the_start_and_holds_mail_back(
    desk: Desk, kind: str
) -> None:
    spec = f"{kind}:{desk.folder}/no/no"
    assert "there is no such directory" in unstartable(parse_chain([spec]))[spec]
    assert "No such file or directory" in trouble(
        await desk.ask(spec, copy=desk.copy(CONTENT, LOCAL))
    )
    file = desk.folder / "boxes" / "file"
    file.write_text("")
    assert "is not a directory" in unstartable(parse_chain([f"{kind}:{file}"]))[f"{kind}:{file}"]


async def test_directory_of_mailboxes_is_made_for_the_first_delivery(desk: Desk) -> None:
    spec = f"deliver:{desk.folder}/new"
    assert unstartable(parse_chain([spec])) == {}
    assert (await desk.ask(spec, copy=desk.copy(CONTENT, LOCAL))).verdict == Accept()
    assert mail_in(desk.folder / "new/ann") == [PATH + CONTENT]
    spec = f"copy:{desk.folder}/absent"
    assert unstartable(parse_chain([spec])) == {
        spec: f"{desk.folder}/absent: there is no such directory"
    }


@pytest.mark.parametrize("spec", ["archive:", "archive:x", "copy:", "copy:x", "deliver:"])
def test_wrong_specs_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="write a directory with a slash"):
        parse_chain([spec])


def test_delivery_cannot_be_a_client_filter() -> None:
    with pytest.raises(ConfigError, match="deliver:/x: client filters run at each attempt"):
        read(ForwarderSettings, ["--client-filter=deliver:/x", "--forward-to=h:25"], {})
