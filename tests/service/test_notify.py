"""emailrelay-notify over real spools: each sender gets one notice, and a notice causes none."""

import asyncio
import email
import subprocess
import sys
import time
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import pytest

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.journal import Attempt
from emailrelay.notify.cli import main
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Fail
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store

SENDER, BOB = Address("sender@x.test"), Address("bob@y.test")
NOBODY = Reply(550, "5.1.1 no such user")
PROCMAIL = Path("/usr/bin/procmail")
DRIVER = Path(__file__).parent.parent / "fakes" / "dying_command.py"


def nothing(_event: Event) -> None:
    """Take reports."""


async def fail_one(spool: Path, sender: str = SENDER) -> QueueId:
    """Put a message into a spool and let it fail."""
    envelope = Envelope(sender=Address(sender), to_remote=(BOB,))
    async with open_store(spool, report=nothing) as store:
        async with store.draft(envelope) as draft:
            draft.write(b"Message-ID: <one@x.test>\r\nSubject: one\r\n\r\nbody\r\n")
            await draft.commit(Stage.READY)
        claim = await store.claim(Stage.READY, draft.id)
        assert claim is not None
        async with claim:
            attempt = Attempt(at=time.time(), peer="mx.y.test:25", replies={BOB: NOBODY})
            await claim.settle(Fail(NOBODY, attempt))
    return draft.id


def failed(spool: Path, sender: str = SENDER) -> QueueId:
    return asyncio.run(fail_one(spool, sender))


async def _stages(spool: Path) -> dict[QueueId, Stage]:
    async with open_store(spool, report=nothing) as store:
        return {listed.id: listed.stage async for listed in store.listing()}


def stages(spool: Path) -> dict[QueueId, Stage]:
    return asyncio.run(_stages(spool))


def notices(spool: Path) -> list[Path]:
    """Give the contents of the spool that are notices."""
    return [c for c in spool.glob("emailrelay.*.content") if b"multipart/report" in c.read_bytes()]


def notified(spool: Path, message: QueueId) -> int:
    text = (spool / f"emailrelay.{message}.envelope.bad").read_text(errors="replace")
    return text.count("X-MailRelay-Notified:")


def in_maildir(maildir: Path) -> list[Message]:
    return [email.message_from_bytes(path.read_bytes()) for path in (maildir / "new").iterdir()]


def test_notice_through_the_spool_is_a_message_of_the_null_sender(tmp_path: Path) -> None:
    message = failed(tmp_path)
    assert main(["--relay", str(tmp_path)]) == 0
    found = stages(tmp_path)
    assert found.pop(message) is Stage.FAILED
    assert list(found.values()) == [Stage.READY]
    envelope = (tmp_path / f"emailrelay.{next(iter(found))}.envelope").read_text()
    assert "X-MailRelay-From: \n" in envelope
    assert f"X-MailRelay-To-Remote: {SENDER}\n" in envelope
    assert not list((tmp_path / ".dsn").iterdir())


def test_notice_goes_to_the_filters_where_they_come_first(tmp_path: Path) -> None:
    message = failed(tmp_path)
    (tmp_path / ".unfiltered").touch()
    assert main(["--relay", str(tmp_path)]) == 0
    found = stages(tmp_path)
    assert [stage for m, stage in found.items() if m != message] == [Stage.UNFILTERED]


def test_sender_is_told_once_however_often_it_is_run(tmp_path: Path) -> None:
    message = failed(tmp_path)
    for _ in range(3):
        assert main(["--relay", str(tmp_path)]) == 0
    assert len(notices(tmp_path)) == 1
    assert notified(tmp_path, message) == 1


def test_two_notifiers_at_once_tell_each_sender_once(tmp_path: Path) -> None:
    for _ in range(20):
        failed(tmp_path)
    command = [sys.executable, "-m", "emailrelay.notify", "--relay", str(tmp_path)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(notices(tmp_path)) == 20


def test_failed_notice_is_left_and_counted_without_a_notice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failed(tmp_path, sender="")
    assert main(["--relay", "--verbose", str(tmp_path)]) == 0
    assert "1 skipped (null sender)" in capsys.readouterr().out
    assert notices(tmp_path) == []
    assert stages(tmp_path) == {message: Stage.FAILED}
    assert main(["--relay", "--verbose", str(tmp_path)]) == 0
    assert "0 skipped (null sender)" in capsys.readouterr().out


def test_unreadable_envelope_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "emailrelay.1.1.1.envelope.bad").write_bytes(b"garbage\r\n")
    failed(tmp_path)
    for _ in range(2):
        assert main(["--relay", str(tmp_path)]) == 0
    assert len(notices(tmp_path)) == 1


def _without_end(envelope: bytes) -> bytes:
    return envelope.replace(b"X-MailRelay-End: 1\r\n", b"")


def _wrong_count(envelope: bytes) -> bytes:
    return envelope.replace(b"ToCount: 1", b"ToCount: 2")


def _not_utf_8(envelope: bytes) -> bytes:
    return envelope.replace(b"Authentication: ", b"Authentication: \xff")


def _of_an_unknown_format(envelope: bytes) -> bytes:
    return envelope.replace(b"#2821.8", b"#9999.9")


@pytest.mark.parametrize("damaged", [_without_end, _wrong_count, _not_utf_8, _of_an_unknown_format])
def test_sender_is_told_of_a_damaged_message_that_still_names_it(
    tmp_path: Path, damaged: Callable[[bytes], bytes]
) -> None:
    message = asyncio.run(_set_aside(tmp_path, damaged))
    for _ in range(2):
        assert main(["--relay", str(tmp_path)]) == 0
    (told,) = notices(tmp_path)
    assert b"damaged in the spool" in told.read_bytes()
    assert BOB.encode() in told.read_bytes()
    assert notified(tmp_path, message) == 1


def test_sender_is_told_once_of_an_envelope_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay.store.spool.message.rewriting._LONGEST", 0)
    message = asyncio.run(_set_aside(tmp_path, lambda envelope: envelope + bytes(65 * 1024**2)))
    for _ in range(2):
        assert main(["--relay", str(tmp_path)]) == 0
    (told,) = notices(tmp_path)
    assert BOB.encode() in told.read_bytes()
    assert notified(tmp_path, message) == 1


async def _set_aside(spool: Path, damaged: Callable[[bytes], bytes]) -> QueueId:
    async with open_store(spool, report=nothing) as store:
        async with store.draft(Envelope(sender=SENDER, to_remote=(BOB,))) as draft:
            draft.write(b"Subject: one\r\n\r\nbody\r\n")
            await draft.commit(Stage.READY)
        path = spool / f"emailrelay.{draft.id}.envelope"
        path.write_bytes(damaged(path.read_bytes()))
        assert await store.claim(Stage.READY, draft.id) is None
    return draft.id


def test_entry_that_is_no_file_does_not_stop_the_others(tmp_path: Path) -> None:
    failed(tmp_path)
    (tmp_path / "emailrelay.1.1.1.envelope.bad").mkdir()
    (tmp_path / "emailrelay.1.1.2.envelope.bad").symlink_to("/dev/null")
    assert main(["--relay", str(tmp_path)]) == 0
    assert len(notices(tmp_path)) == 1


def test_message_that_failed_again_after_a_retry_is_told_of_again(tmp_path: Path) -> None:
    async def retried_and_failed(message: QueueId) -> None:
        async with open_store(tmp_path, report=nothing) as store:
            await store.retry(message)
            await store.fail(message)

    message = failed(tmp_path)
    main(["--relay", str(tmp_path)])
    asyncio.run(retried_and_failed(message))
    main(["--relay", str(tmp_path)])
    assert len(notices(tmp_path)) == 2


def test_notice_reads_back_from_a_maildir(tmp_path: Path) -> None:
    failed(tmp_path / "spool")
    assert main(["--maildir", str(tmp_path / "box"), str(tmp_path / "spool")]) == 0
    (message,) = in_maildir(tmp_path / "box")
    assert message.get_content_type() == "multipart/report"
    assert message["To"] == SENDER
    assert message["In-Reply-To"] == "<one@x.test>"


@pytest.mark.skipif(not PROCMAIL.exists(), reason="procmail is not installed")
def test_procmail_delivers_a_notice(tmp_path: Path) -> None:
    failed(tmp_path / "spool")
    recipe = tmp_path / "recipe"
    recipe.write_text(f"DEFAULT={tmp_path}/box/\nLOGFILE={tmp_path}/log\n")
    command = f"{PROCMAIL} -m {recipe}"
    assert main(["--deliver-with", command, str(tmp_path / "spool")]) == 0
    (message,) = in_maildir(tmp_path / "box")
    assert message["Auto-Submitted"] == "auto-replied"


def test_program_that_fails_is_tried_again_with_the_same_notice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failed(tmp_path / "spool")
    script = tmp_path / "deliver"
    script.write_text(f"#!/bin/sh\ncat >> {tmp_path}/out\necho full >&2\ntest -e {tmp_path}/go\n")
    script.chmod(0o755)
    arguments = ["--deliver-with", str(script), str(tmp_path / "spool")]
    assert main(arguments) == 1
    assert "full" in capsys.readouterr().err
    (tmp_path / "go").touch()
    assert main(arguments) == 0
    assert main(arguments) == 0
    tries = (tmp_path / "out").read_text().split("\nMessage-ID: <1")[1:]
    assert len(tries) == 2
    assert tries[0].split()[0] == tries[1].split()[0]
    assert notified(tmp_path / "spool", message) == 1


@pytest.mark.parametrize("way", ["--deliver-with", "--maildir"])
def test_way_that_is_missing_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    failed(tmp_path / "spool")
    (tmp_path / "file").touch()
    assert main([way, str(tmp_path / "file" / "below"), str(tmp_path / "spool")]) == 1
    told = capsys.readouterr().err
    assert "Not a directory" in told
    assert "Errno" not in told


def test_sender_of_another_host_is_kept_until_a_way_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failed(tmp_path)
    assert main([str(tmp_path)]) == 1
    assert "--relay" in capsys.readouterr().err
    assert notified(tmp_path, message) == 0
    assert main(["--relay", str(tmp_path)]) == 0
    assert len(notices(tmp_path)) == 1


def test_local_part_cannot_become_an_option_of_the_program(tmp_path: Path) -> None:
    message = failed(tmp_path / "spool", sender="-oops@x.test")
    ran = tmp_path / "ran"
    assert main(["--deliver-with", f"touch {ran} {{sender}}", str(tmp_path / "spool")]) == 1
    assert not ran.exists()
    assert notified(tmp_path / "spool", message) == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--bogus"], 64),
        (["--deliver-with", "'open quote"], 64),
        (["--relay", "--maildir", "x"], 64),
        (["/nowhere/at/all"], 66),
    ],
)
def test_mistakes_have_their_exit_status(arguments: list[str], status: int) -> None:
    try:
        found: object = main(arguments)
    except SystemExit as error:
        found = error.code
    assert found == status


def test_interrupt_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emailrelay.notify.cli._run", interrupt)
    assert main(["--relay", str(tmp_path)]) == 130
    assert capsys.readouterr().err.startswith("emailrelay-notify: interrupted; ")


def swept(tmp_path: Path, *arguments: str) -> list[Path]:
    """Kill a notifier before each of its steps, let another finish; give the rest each time."""
    failed(tmp_path / "template")
    copies = tmp_path / "copies"
    copies.mkdir()
    done = subprocess.run(
        [sys.executable, DRIVER, "notify", tmp_path / "template", copies, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = [copies / str(k) for k in range(1, int(done.stdout) + 1)]
    assert len(found) > 10, "the notifier has more steps than that"
    return found


def assert_told_once(copy: Path) -> None:
    (bad,) = copy.glob("emailrelay.*.envelope.bad")
    assert bad.read_text().count("X-MailRelay-Notified:") == 1, copy.name
    assert list((copy / ".dsn").iterdir()) == [], copy.name
    assert list((copy / ".new").iterdir()) == [], copy.name


def test_killed_before_any_step_the_sender_is_told_once_by_mail(tmp_path: Path) -> None:
    for copy in swept(tmp_path, "--relay", "DIR"):
        assert_told_once(copy)
        assert len(notices(copy)) == 1, copy.name
        assert len(list(copy.glob("*.envelope"))) == 1, copy.name


def test_killed_before_any_step_the_sender_is_told_once_in_a_maildir(tmp_path: Path) -> None:
    for copy in swept(tmp_path, "--maildir", "DIR/.box", "DIR"):
        assert_told_once(copy)
        assert len(in_maildir(copy / ".box")) == 1, copy.name
        assert notices(copy) == [], copy.name


def test_any_opener_of_the_spool_sends_a_recorded_notice_on(tmp_path: Path) -> None:
    message = failed(tmp_path)
    main(["--relay", str(tmp_path)])
    (notice,) = notices(tmp_path)
    name = notice.name.removesuffix(".content")
    lying = tmp_path / ".dsn" / f"{message}.relay"
    lying.mkdir()
    notice.rename(lying / notice.name)  # as if the notifier had died before both renames
    (tmp_path / f"{name}.envelope").rename(lying / f"{name}.envelope")
    assert len(stages(tmp_path)) == 2
    assert notice.exists()


def test_any_opener_of_the_spool_discards_a_notice_that_was_not_recorded(tmp_path: Path) -> None:
    message = failed(tmp_path)
    lying = tmp_path / ".dsn" / f"{message}.relay"
    lying.mkdir()
    (lying / "emailrelay.1.1.1.content").write_bytes(b"x\r\n")
    assert stages(tmp_path) == {message: Stage.FAILED}
    assert not lying.exists()


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_user_of_this_host_is_told_by_procmail(tmp_path: Path) -> None:
    failed(tmp_path / "spool", sender="root@localhost")
    program = script(tmp_path / "procmail", f'echo "$@" > {tmp_path}/args; cat > {tmp_path}/notice')
    assert main(["--procmail", str(program), str(tmp_path / "spool")]) == 0
    assert (tmp_path / "args").read_text() == "-d root\n"
    notice = email.message_from_bytes((tmp_path / "notice").read_bytes())
    assert notice["To"] == "root@localhost"


def test_what_the_operator_asks_for_meanwhile_is_done_afterwards(tmp_path: Path) -> None:
    message = failed(tmp_path / "spool")
    queue = f"{sys.executable} -m emailrelay.queue"
    program = script(tmp_path / "slow", f"{queue} retry -s {tmp_path}/spool {message} >&2")
    assert main(["--deliver-with", str(program), str(tmp_path / "spool")]) == 0
    assert stages(tmp_path / "spool") == {message: Stage.READY}


def test_address_of_a_sender_does_nothing_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed(tmp_path, "ann@x\u202e.test")
    assert main([str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "x\\u202e.test is not this host" in told
