"""Files that the set-up writes, with a first line that tells if they were edited since.

The line has the hash of all other lines. A file whose hash is right is ours: another run may
replace or remove it. All other files are left alone.
"""

import hashlib
import os
from functools import partial
from pathlib import Path

from emailrelay.setup.machine import Machine
from emailrelay.setup.step import AlreadySo, LeftAlone, SetupStep, StepToTake

_MARK = "# Made by emailrelay-setup; a changed copy is left alone. sha256:"


def marked(text: str) -> str:
    """Return the text with the line in front that makes it ours."""
    return f"{_MARK}{_hash_of(text)}\n{text}"


def is_unedited(text: str) -> bool:
    """Tell if the text is one that ``marked`` has made."""
    first, _, rest = text.partition("\n")
    return first.startswith(_MARK) and first.removeprefix(_MARK) == _hash_of(rest)


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def to_write(machine: Machine, path: Path, text: str) -> SetupStep:
    """Return the step that leads to this text in a file of ours."""
    wanted, present = marked(text), _text_of(machine, path)
    if present == wanted:
        return AlreadySo(f"{path}")
    if present is None and not machine.exists(path):
        return StepToTake(f"write {path}", partial(write, machine, path, wanted))
    if present is not None and is_unedited(present):
        return StepToTake(
            f"write {path} again, as this release has it", partial(write, machine, path, wanted)
        )
    return LeftAlone(
        f"{path}: this command did not write it, or it was edited since",
        "to get the one of this release, move it away and run this command again: "
        f"mv {path} /root/",
    )


def to_remove(machine: Machine, path: Path) -> SetupStep | None:
    """Return the step that removes a file of ours, if there is such a file."""
    if not machine.exists(path):
        return None
    present = _text_of(machine, path)
    if present is not None and is_unedited(present):
        return StepToTake(f"remove {path}", machine.real(path).unlink)
    return LeftAlone(f"{path}: it was edited, or another program wrote it", f"rm {path}")


def _text_of(machine: Machine, path: Path) -> str | None:
    """Return the text of a plain file, else None."""
    real = machine.real(path)
    if real.is_symlink() or not real.is_file():
        return None
    return real.read_text("utf-8", errors="replace")


def write(machine: Machine, path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole, or leave the old one."""
    real = machine.real(path)
    real.parent.mkdir(parents=True, exist_ok=True)
    scratch = real.with_name(f".{real.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 -- an open descriptor
        file.write(text)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)
    scratch.replace(real)
