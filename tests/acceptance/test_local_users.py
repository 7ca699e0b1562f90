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
    DIRECTORIES,
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
