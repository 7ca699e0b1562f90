"""The rights of the members of a sticky spool's group (docs/security.md)."""

import os

import pytest
from tests.acceptance.command import SYSTEM_PYTHON
from tests.acceptance.local_users import DIRECTORIES, GROUP, MEMBER, SERVICE, Ground

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users"),
    pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs a Python for all users"),
]

RENAME = """
import os, sys
for name in ('.new', '.work', '.wake', '.waiting'):
    try:
        os.rename(f'{sys.argv[1]}/{name}/probe', f'{sys.argv[1]}/{name}/other')
    except PermissionError:
        print('refused', name)
"""
SESSION = (
    "EHLO here.test\r\nMAIL FROM:<a@here.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
    "Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
)
SWAP = """
import os, sys
for name in os.listdir(sys.argv[1]):
    if os.lstat(f'{sys.argv[1]}/{name}').st_uid != os.getuid():
        try:
            os.rename(f'{sys.argv[1]}/{name}', f'{sys.argv[1]}/.swapped')
        except PermissionError:
            print('refused', name)
"""


def test_member_of_the_group_of_a_sticky_spool_submits_and_moves_nothing_of_others() -> None:
    ground = Ground(0o3770)
    try:
        ground.tool("submit")
        assert ground.tool("forwarder").status == 1
        assert ground.tool("submit", user=MEMBER, groups=[GROUP]).status == 0
        session = ground.run(
            "-m", "emailrelay.submit", "-bs", "--spool-dir", ground.spool,
            user=MEMBER, groups=[GROUP], text=SESSION,
        )  # fmt: skip
        assert "250 2.0.0 Ok: queued" in session.out, session.out
        assert session.err == ""
        assert ground.tool("list", user=MEMBER, groups=[GROUP]).status == 0
        names = {path.name for path in ground.spool.iterdir() if path.stat().st_uid == SERVICE}
        assert {".new", ".work"} <= names
        assert "refused .work" in ground.member(SWAP, ground.spool).out
        assert names <= {path.name for path in ground.spool.iterdir()}
        assert ground.tool("forwarder").status == 1  # it handles the member's messages, too
        envelopes = list(ground.spool.glob("emailrelay.*.envelope"))
        assert len(envelopes) == 3
        for file in (*envelopes, *ground.spool.glob("emailrelay.*.content")):
            assert file.stat().st_mode & 0o7777 == 0o640, file
        assert {file.stat().st_uid for file in envelopes} == {SERVICE}
        for name in DIRECTORIES[:-1]:
            there = (ground.spool / name).stat()
            assert there.st_mode & 0o7777 == (0o3770 if name in OPEN else 0o3700), name
            assert (there.st_uid, there.st_gid) == (SERVICE, GROUP)
        said = ground.member(TRY_EVERYTHING, ground.spool).out.splitlines()
        assert said == ["refused"] * (3 + len(DIRECTORIES) - 1 - len(OPEN))
    finally:
        ground.clear_away()


TRY_EVERYTHING = """
import fcntl, os, sys
spool = sys.argv[1]

def attempt(act, *words):
    try:
        act(*words)
    except PermissionError:
        print('refused')
    else:
        print('done', words)

def lock(path):
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)

for end in ('content', 'envelope'):
    mine = lambda name: os.stat(f'{spool}/{name}').st_uid == os.getuid()
    others = [name for name in os.listdir(spool) if name.endswith(end) and not mine(name)]
    attempt(os.open, f'{spool}/{others[0]}', os.O_RDWR)
attempt(lock, f'{spool}/.wal')
for name in ('.work', '.doubt', '.waiting', '.dsn', '.wal'):
    attempt(os.open, f'{spool}/{name}/1.1.1.reply', os.O_CREAT | os.O_WRONLY)
"""
OPEN = (".new", ".wake")
"""The directories of a sticky spool in which members of its group can make files."""


def test_member_of_the_group_of_a_sticky_spool_submits_mail_that_the_operator_can_change() -> None:
    ground = Ground(0o3770)
    try:
        assert ground.tool("stats").status == 0
        ground.tool("notify")  # it makes the directories
        assert ground.tool("submit", user=MEMBER, groups=[GROUP]).status == 0
        (envelope,) = ground.spool.glob("emailrelay.*.envelope")
        there = envelope.stat()
        assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (MEMBER, GROUP, 0o640)
        assert ground.tool("hold").status == 0
        (held,) = ground.spool.glob("emailrelay.*.envelope.hold")
        assert held.stat().st_uid == SERVICE
    finally:
        ground.clear_away()


SECOND = """
import os, shutil, sys
spool = sys.argv[1]
(first,) = [name for name in os.listdir(spool) if name.endswith('.envelope')]
for other in ('.filter', '.hold', '.bad'):
    text = open(f'{spool}/{first}').read().replace('b@x.test', 'eve@x.test')
    open(f'{spool}/{first}{other}', 'w').write(text)
content = first.replace('.envelope', '.content')
shutil.copy(f'{spool}/{content}', f'{spool}/.new/{content}')
open(f'{spool}/.new/{first}', 'w').write(text)
open(f'{spool}/{first}.busy', 'w').write(text)
os.utime(f'{spool}/{first}.busy', (0, 0))
"""
"""A member makes more envelopes for the message of another user: at other stages, as a draft."""


CLAIM = """
import asyncio, os, sys
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store

async def main():
    async with open_store(sys.argv[1], report=lambda event: None) as store:
        (first,) = [name for name in os.listdir(sys.argv[1]) if name.endswith('.envelope')]
        message = first.removeprefix('emailrelay.').removesuffix('.envelope')
        for stage in Stage:
            claim = await store.claim(stage, message, due_only=False)
            if claim is not None:
                print(stage, *claim.envelope.to_remote)
                await claim.release()

asyncio.run(main())
"""


def test_member_of_the_group_of_a_sticky_spool_gives_a_message_no_second_envelope() -> None:
    ground = Ground(0o3770)
    try:
        assert ground.tool("submit").status == 0
        (envelope,) = ground.spool.glob("emailrelay.*.envelope")
        made = ground.member(SECOND, ground.spool)
        assert made.err == ""
        claimed = ground.run("-c", CLAIM, ground.spool, user=SERVICE, groups=[GROUP])
        assert claimed.out.splitlines() == ["ready b@x.test"], claimed
        for words in (["release", "--all"], ["flush"], ["verify", "--repair"]):
            ground.run("-m", "emailrelay.queue", *words, "--spool-dir", ground.spool)
        assert ground.tool("notify").status in (0, 1)
        assert ground.tool("forwarder").status == 1
        assert envelope.stat().st_uid == SERVICE
        assert "eve@x.test" not in envelope.read_text()
        assert envelope.with_name(envelope.name.replace(".envelope", ".content")).exists()
    finally:
        ground.clear_away()


def test_spool_that_becomes_sticky_is_closed_to_its_members_at_the_next_start() -> None:
    ground = Ground(0o2770)
    try:
        ground.tool("submit")
        ground.tool("forwarder")
        files = list(ground.spool.glob("emailrelay.*"))
        assert len(files) == 2
        for name in DIRECTORIES[:-1]:
            assert (ground.spool / name).stat().st_mode & 0o7777 == 0o2770
        ground.spool.chmod(0o3770)
        assert ground.tool("list").status == 0  # it looks, and changes nothing
        assert (ground.spool / ".wake").stat().st_mode & 0o7777 == 0o2770
        assert ground.tool("forwarder").status == 1
        for name in DIRECTORIES[:-1]:
            mode = 0o3770 if name in OPEN else 0o3700
            assert (ground.spool / name).stat().st_mode & 0o7777 == mode
            probe = ground.spool / name / "probe"
            probe.touch()
            os.chown(probe, SERVICE, GROUP)
        said = ground.member(RENAME, ground.spool).out
        assert said.splitlines() == [
            f"refused {name}" for name in (".new", ".work", ".wake", ".waiting")
        ]
        assert {file.stat().st_mode & 0o7777 for file in files} == {0o640}
    finally:
        ground.clear_away()
