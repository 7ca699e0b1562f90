"""Writes messages into maildirs: whole or not at all, and on stable storage.

The name of a message in a maildir is made of its queue id. So a filter that runs again replaces
what it wrote, unless a reader has moved it.
"""

import os
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from emailrelay.queue_id import QueueId, arrived_at

_FOLDERS = ("tmp", "new", "cur")


def maildir_name(message: QueueId) -> str:
    """Return the name of a message in a maildir."""
    arrived = arrived_at(message) or 0
    host = socket.gethostname().replace("/", r"\057").replace(":", r"\072")
    return f"{int(arrived)}.R{message.replace('.', '_')}.{host}"


def write_into(maildir: Path, name: str, pieces: Iterable[bytes]) -> None:
    """Write a message into a maildir, which is made if its parent exists.

    When this returns, the message is on stable storage.

    Raises:
        OSError: it is not there, and nothing is left of it.

    """
    _make(maildir)
    # A name of its own: an earlier run of the same filter may still be writing.
    draft = maildir / "tmp" / f"{name}.{secrets.token_hex(8)}"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(maildir / "new" / name)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    _sync(maildir / "new")


def make_directory(directory: Path) -> None:
    """Make a directory on stable storage, unless it is there; raise OSError if that fails."""
    try:
        directory.mkdir(0o700)
    except FileExistsError:
        return
    _sync(directory.parent)


def maildir_trouble(maildir: Path) -> str:
    """Return the reason for which nothing can be written into a maildir, or an empty text."""
    if maildir.is_dir():
        return "" if os.access(maildir, os.W_OK | os.X_OK) else f"{maildir}: no write permission"
    if maildir.exists() or not maildir.parent.is_dir():
        return directory_trouble(maildir)
    return "" if os.access(maildir.parent, os.W_OK) else f"{maildir}: cannot be made"


def directory_trouble(directory: Path) -> str:
    """Return the reason for which a directory cannot be used, or an empty text."""
    if directory.is_dir():
        return ""
    absent = "is not a directory" if directory.exists() else "there is no such directory"
    return f"{directory}: {absent}"


def _make(maildir: Path) -> None:
    for folder in (maildir, *(maildir / name for name in _FOLDERS)):
        make_directory(folder)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
