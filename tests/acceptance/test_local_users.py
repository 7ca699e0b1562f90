"""The rights of local users towards each other in a spool (docs/security.md)."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.command import SYSTEM_PYTHON
from tests.acceptance.local_users import (
    ENVIRONMENT,
    GROUP,
    MEMBER,
    MESSAGE,
    OTHERS,
    SERVICE,
    TOOLS,
    Ground,
    looks,
)
from tests.acceptance.relay import HANG, ROOT, free_port, until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users"),
    pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs a Python for all users"),
]

DIRECTORIES = (".new", ".work", ".wake", ".doubt", ".waiting", ".dsn", ".wal", ".slots")
LOOKING = ("list", "stats", "verify", "mailq")
CHANGING = tuple(TOOLS.keys() - set(LOOKING))


@pytest.fixture
def ground() -> Iterator[Ground]:
    made = Ground()
    try:
        if made.run("-c", "import pydantic_core, emailrelay").status != 0:
            pytest.skip("the system's Python is of another release than this one's packages")
        yield made
    finally:
        made.clear_away()


REPLACE = """
import os, sys
spool, name, target = sys.argv[1:]
if os.path.lexists(f'{spool}/{name}'):
    os.rename(f'{spool}/{name}', f'{spool}/.away{len(os.listdir(spool))}')
os.symlink(target, f'{spool}/{name}')
"""
"""A member of the group puts a link in the place of one of the spool's directories."""


@pytest.mark.parametrize("name", DIRECTORIES)
def test_link_in_the_place_of_a_directory_leads_root_nowhere(ground: Ground, name: str) -> None:
    assert ground.tool("submit").status == 0
    tree = ground.make_tree("etc", 0, 0o755)
    before = looks(tree)
    assert ground.member(REPLACE, ground.spool, name, tree).status == 0
    for tool in TOOLS:
        ground.tool(tool)
        assert looks(tree) == before, tool


@pytest.mark.parametrize("name", DIRECTORIES)
def test_link_in_the_place_of_a_directory_leads_the_service_nowhere(
    ground: Ground, name: str
) -> None:
    assert ground.tool("submit").status == 0
    tree = ground.make_tree("private", SERVICE, 0o700)
    before = looks(tree)
    assert ground.member(REPLACE, ground.spool, name, tree).status == 0
    for tool in ("repair", "notify", "forwarder"):
        ground.tool(tool, user=SERVICE, groups=[GROUP])
        assert looks(tree) == before, tool


@pytest.mark.parametrize("name", [".new", ".work", ".doubt"])
def test_link_in_a_spool_of_root_leads_root_nowhere(name: str) -> None:
    ground = Ground(owner=0)
    try:
        ground.tool("submit")
        tree = ground.make_tree("etc", 0, 0o755)
        before = looks(tree)
        assert ground.member(REPLACE, ground.spool, name, tree).status == 0
        for tool in TOOLS:
            ground.tool(tool)
            assert looks(tree) == before, tool
    finally:
        ground.clear_away()


def test_spool_that_root_makes_in_the_directory_of_a_user_is_the_users(ground: Ground) -> None:
    home = ground.directory / "home"
    home.mkdir()
    os.chown(home, MEMBER, MEMBER)
    words = ["--once", "--forward-to", "127.0.0.1:9", "--spool-dir", str(home / "mail" / "spool")]
    assert ground.run("-m", "emailrelay_forwarder", *words).status == 0
    made = [path.lstat() for path in home.rglob("*")]
    assert made
    assert {there.st_uid for there in made} == {MEMBER}


RACE = """
import contextlib, os, sys
spool, target = sys.argv[1:]
print('begun', flush=True)
count = 0
while True:
    for name in ('.work',):
        count += 1
        with contextlib.suppress(OSError):
            os.rename(f'{spool}/{name}', f'{spool}/.away{count}')
            os.symlink(target, f'{spool}/{name}')
            os.unlink(f'{spool}/{name}')
"""


def test_renames_in_a_race_give_nothing_of_root_to_the_service_or_the_group(
    ground: Ground,
) -> None:
    tree = ground.make_tree("etc", 0, 0o755)
    before = looks(tree)
    racing = ground.start_member(RACE, ground.spool, tree)
    try:
        for _ in range(15):
            ground.tool("submit")
            ground.tool("hold")
            assert looks(tree) == before
    finally:
        racing.kill()
        racing.communicate()


FORGE = """
import os, sys
from emailrelay.store.spool.durable import records, segment
spool = sys.argv[1]
for above in ('emailrelay.a', '.new/emailrelay.a'):
    os.mkdir(f'{spool}/{above}')
mark = b'm' * records.MARK_SIZE
head = segment._HEAD.pack(segment._MAGIC, segment._VERSION, 1, mark)
gone = [records.Gone(f'a/../{up}victim') for up in ('../', '../../')]
made = [records.Taken('a/../../made', records.Stage.READY, b'x', b'x')]
os.umask(0)
with open(os.open(f'{spool}/.wal/000000000001.log', os.O_CREAT | os.O_WRONLY, 0o660), 'wb') as file:
    file.write(head.ljust(records.BLOCK, b'\\0') + records.batch(mark, gone + made))
"""
"""A member of the group writes a log whose messages' ids are paths."""


@pytest.mark.parametrize("owner", [0, SERVICE])
def test_log_that_a_member_of_the_group_has_written_leads_nowhere(owner: int) -> None:
    ground = Ground(owner=owner)
    try:
        os.chown(ground.directory, owner, owner)
        victim = ground.directory / "victim.content"
        victim.write_text("kept")
        os.chown(victim, owner, owner)
        assert ground.tool("submit").status == 0
        assert ground.tool("hold").status == 0
        assert ground.member(FORGE, ground.spool).err == ""
        assert ground.tool("notify").status == 0
        assert list((ground.spool / ".wal").iterdir()) == []  # it was read
        assert {path.name for path in ground.directory.iterdir()} == {"spool", victim.name}
    finally:
        ground.clear_away()


STORING = """
import asyncio, sys
from emailrelay import spool_owner
from emailrelay.store.spool.tokens import SpoolTokens
spool_owner.become(sys.argv[1])

async def keep():
    async with SpoolTokens(sys.argv[1]).turn('office') as turn:
        await turn.keep(b'secret')

asyncio.run(keep())
"""
OWN_TOKENS = """
import os, sys
os.mkdir(sys.argv[1], 0o700)
"""


def test_token_never_comes_to_a_member_of_the_group(ground: Ground) -> None:
    tokens = ground.spool / ".tokens"
    assert ground.member(OWN_TOKENS, tokens).status == 0
    assert tokens.stat().st_uid == MEMBER
    stored = ground.run("-c", STORING, ground.spool)
    assert stored.status != 0
    assert list(tokens.iterdir()) == []


def test_token_that_root_stores_is_for_the_service_alone(ground: Ground) -> None:
    stored = ground.run("-c", STORING, ground.spool)
    assert stored.status == 0, stored.err
    kept = ground.spool / ".tokens" / "office.json"
    assert kept.read_text() == "secret"
    for path in (kept.parent, kept):
        there = path.stat()
        assert (there.st_uid, there.st_mode & 0o077) == (SERVICE, 0)
    reading = f"print(open({str(kept)!r}).read())"
    assert "PermissionError" in ground.member(reading).err


@pytest.mark.parametrize("tool", LOOKING)
def test_looking_changes_nothing(ground: Ground, tool: str) -> None:
    assert ground.tool("submit").status == 0
    ground.tool("forwarder", user=SERVICE, groups=[GROUP])
    for name in (
        ".waiting/1.1.1",
        ".doubt/1.abc",
        ".new/emailrelay.1.1.1.content",
        ".work/1.1.1.run",
    ):
        left = ground.spool / name
        left.parent.mkdir(exist_ok=True)
        left.touch()
        os.chown(left, SERVICE, GROUP)
    before = looks(ground.spool)
    assert ground.tool(tool).status in (0, 1)
    assert ground.tool(tool, user=MEMBER, groups=[GROUP]).status in (0, 1)
    assert looks(ground.spool) == before


@pytest.mark.parametrize("tool", LOOKING)
def test_looking_makes_nothing(ground: Ground, tool: str) -> None:
    assert ground.tool(tool).status == 0
    assert list(ground.spool.iterdir()) == []


def test_what_root_makes_belongs_to_the_owner_of_the_spool(ground: Ground) -> None:
    for tool in ("submit", *CHANGING):
        ground.tool(tool)
    made = {path: path.lstat() for path in ground.spool.rglob("*")}
    assert made
    assert {(there.st_uid, there.st_gid) for there in made.values()} == {(SERVICE, GROUP)}, made


def test_root_submits_with_a_python_that_the_owner_of_the_spool_cannot_read(
    ground: Ground,
) -> None:
    own = ground.directory / "python"
    own.mkdir(0o700)
    (own / "python3").write_bytes(SYSTEM_PYTHON.read_bytes())
    (own / "python3").chmod(0o700)
    for name in ("shared", "services"):
        shutil.copytree(ROOT / name, own / name)
    places = [own / "shared", own / "services" / "receiver"]
    done = subprocess.run(
        [own / "python3", "-P", "-m", "emailrelay.submit", "--spool-dir", ground.spool, "b@x.test"],
        input=MESSAGE.encode(),
        cwd="/",
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONHOME": "/usr"},
        check=False,
    )
    assert done.returncode == 0
    (envelope,) = ground.spool.glob("emailrelay.*.envelope")
    assert envelope.stat().st_uid == SERVICE


def test_service_that_root_starts_becomes_the_owner_of_the_spool(ground: Ground) -> None:
    words = ["-m", "emailrelay_receiver", "--spool-dir", str(ground.spool)]
    words += ["--interface", "127.0.0.1", "--port", str(free_port())]
    process = subprocess.Popen(
        [SYSTEM_PYTHON, "-P", *words], cwd="/", env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )

    def user() -> list[str]:
        text = Path(f"/proc/{process.pid}/status").read_text()
        return next(line for line in text.splitlines() if line.startswith("Uid:")).split()[1:]

    try:
        until((ground.spool / ".wal").exists, "the spool is open")
        assert user() == [str(SERVICE)] * 4
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(HANG)


def test_strangers_see_and_change_nothing(ground: Ground) -> None:
    assert ground.tool("submit").status == 0
    for tool in ("list", "mailq", "hold", "repair"):
        assert ground.tool(tool, user=OTHERS).status not in (0, 1), tool
    assert (
        "PermissionError"
        in ground.run("-c", f"import os; os.listdir({str(ground.spool)!r})", user=OTHERS).err
    )


def test_notice_that_root_puts_into_a_maildir_follows_no_link_of_its_owner(
    ground: Ground,
) -> None:
    assert ground.tool("submit").status == 0
    assert (
        ground.run("-m", "emailrelay.queue", "fail", "--all", "--spool-dir", ground.spool).status
        == 0
    )
    tree = ground.make_tree("etc", 0, 0o755)
    before = looks(tree)
    maildir = ground.directory / "maildir"
    maildir.mkdir()
    for name in ("tmp", "new", "cur"):
        (maildir / name).symlink_to(tree)
    os.chown(maildir, MEMBER, MEMBER)
    told = ground.run("-m", "emailrelay.notify", "--maildir", maildir, "--spool-dir", ground.spool)
    assert told.status == 1, told.err
    assert looks(tree) == before


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
