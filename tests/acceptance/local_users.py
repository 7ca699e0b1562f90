"""A spool of a service's user, a member of its group and a stranger, all of them real users."""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.command import SYSTEM_PYTHON
from tests.acceptance.relay import HANG, ROOT

SERVICE, MEMBER, GROUP, OTHERS = 64_011, 64_012, 64_013, 64_014
"""User and group ids that no account of this machine has."""

DIRECTORIES = (".new", ".work", ".wake", ".doubt", ".waiting", ".dsn", ".wal", ".slots")
"""Those in a spool."""
MESSAGE = "From: a@here.test\r\nTo: b@x.test\r\nSubject: hello\r\n\r\nhello\r\n"
_PLACES = [ROOT, ROOT / "shared", *(ROOT / "services").iterdir(), sysconfig.get_path("purelib")]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(map(str, _PLACES))}


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended."""

    status: int
    out: str
    err: str


class Ground:
    """A directory that every user can reach, with a spool in it."""

    def __init__(self, mode: int = 0o2770, owner: int = SERVICE) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="users-"))
        self.directory.chmod(0o711)
        self.spool = self.directory / "spool"
        self.spool.mkdir()
        os.chown(self.spool, owner, GROUP)
        self.spool.chmod(mode)

    def run(
        self, *words: str | Path, user: int = 0, groups: Sequence[int] = (), text: str = MESSAGE
    ) -> Ended:
        """Run Python with these arguments as a user."""
        done = subprocess.run(
            [SYSTEM_PYTHON, "-P", *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
            cwd="/",
            env=ENVIRONMENT,
            user=user,
            group=user,
            extra_groups=groups,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start_member(self, script: str, *words: str | Path) -> "subprocess.Popen[bytes]":
        """Start the script of a group member; it prints a line when it has begun."""
        process = subprocess.Popen(
            [SYSTEM_PYTHON, "-P", "-c", script, *words],
            stdout=subprocess.PIPE,
            cwd="/",
            env=ENVIRONMENT,
            user=MEMBER,
            group=MEMBER,
            extra_groups=[GROUP],
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    def member(self, script: str, *words: str | Path) -> Ended:
        """Run a script as a member of the group."""
        return self.run("-c", script, *words, user=MEMBER, groups=[GROUP])

    def tool(self, name: str, *, user: int = 0, groups: Sequence[int] = ()) -> Ended:
        """Run one of ``TOOLS`` on the spool."""
        words = [word.replace("SPOOL", str(self.spool)) for word in TOOLS[name]]
        return self.run("-m", *words, user=user, groups=groups)

    def make_tree(self, name: str, owner: int, mode: int) -> Path:
        """Make a directory whose entries have names that a sweep removes."""
        tree = self.directory / name
        (tree / "cron.d").mkdir(parents=True)
        (tree / "1.1.1.relay").mkdir()
        for file in ("shadow", "cron.d/job", "1.1.1.relay/job", "emailrelay.1.1.1.content"):
            (tree / file).write_text("kept")
        (tree / "emailrelay.1.1.2.envelope").write_text("kept")
        for each in (tree, *tree.rglob("*")):
            os.chown(each, owner, owner)
            each.chmod(0o700 if each.is_dir() else 0o600)
        tree.chmod(mode)
        return tree

    def clear_away(self) -> None:
        shutil.rmtree(self.directory)


def looks(tree: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return the mode, owner, group and times of everything under a directory."""
    found: dict[str, tuple[int, int, int, int]] = {}
    for path in (tree, *tree.rglob("*")):
        there = path.lstat()
        found[str(path)] = there.st_mode, there.st_uid, there.st_gid, there.st_mtime_ns
    return found


TOOLS: dict[str, list[str]] = {
    "list": ["emailrelay.queue", "list", "--spool-dir", "SPOOL"],
    "stats": ["emailrelay.queue", "stats", "--spool-dir", "SPOOL"],
    "verify": ["emailrelay.queue", "verify", "--spool-dir", "SPOOL"],
    "repair": ["emailrelay.queue", "verify", "--repair", "--spool-dir", "SPOOL"],
    "hold": ["emailrelay.queue", "hold", "--all", "--spool-dir", "SPOOL"],
    "mailq": ["emailrelay.submit", "-bp", "--spool-dir", "SPOOL"],
    "submit": ["emailrelay.submit", "--spool-dir", "SPOOL", "b@x.test"],
    "notify": ["emailrelay.notify", "--relay", "--spool-dir", "SPOOL"],
    "forwarder": [
        "emailrelay_forwarder", "--once", "--spool-dir", "SPOOL", "--forward-to", "127.0.0.1:9"
    ],
}  # fmt: skip
"""The modules and arguments of the commands that people run on a spool."""
