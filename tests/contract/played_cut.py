"""A power cut, played on a copy of a spool that has a log.

The log stays as it was. Of the messages' files only those stay that the test chooses. Power cuts of
a real disk are in ``tests/faults``.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener

BODY = b"Subject: x\r\n\r\nbody\r\n"


class Cut(BaseException):
    """The power fails."""


def nothing(_path: Path) -> bool:
    return False


def everything(_path: Path) -> bool:
    return True


def cut(spool: SpoolOpener, kept: Callable[[Path], bool] = nothing) -> SpoolOpener:
    """Return the spool as after a power cut at this moment."""
    after = LoggedSpoolOpener(Path(tempfile.mkdtemp(dir=spool.directory.parent, prefix="cut.")))
    after.directory.mkdir()
    for path in spool.directory.rglob("*"):
        name = path.relative_to(spool.directory)
        target = after.directory / name
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            target.chmod(path.stat().st_mode)
        elif path.is_file() and (name.parts[0] == ".wal" or kept(name)):
            shutil.copy2(path, target)
    return after


def put_log(later: SpoolOpener, earlier: SpoolOpener) -> None:
    """Put the files of an earlier moment beside the log of a later one."""
    shutil.rmtree(earlier.directory / ".wal")
    shutil.copytree(later.directory / ".wal", earlier.directory / ".wal")
