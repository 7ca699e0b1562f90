"""Reads files with one secret; refuses files that other users can read."""

import os
import stat
from pathlib import Path

from emailrelay.errors import RelayError
from emailrelay.secrets.secret import Secret

_MOST_OCTETS = 64 * 1024


class SecretUnusable(RelayError):
    """A secret file is unusable; the text names the file and shows nothing of its content."""


def read_text(path: Path, *, secret: bool = True) -> str:
    """Return the text of a file; ``secret``: other users must not have access.

    Raises:
        SecretUnusable: it cannot be read, other users have access, or it is not text.

    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            octets = file.read(_MOST_OCTETS + 1)
    except OSError as error:
        raise SecretUnusable(f"{path}: cannot be read: {error.strerror}") from error
    if secret and stat.S_IMODE(mode) & stat.S_IRWXO:
        raise SecretUnusable(
            f"{path}: holds a secret, and other users have access: chmod o= {path}"
        )
    if len(octets) > _MOST_OCTETS:
        raise SecretUnusable(f"{path}: is too long for a secret (at most 64 KiB)")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        # The original error would quote the octet.
        raise SecretUnusable(f"{path}: is not UTF-8 text") from None


def read_line(path: Path) -> Secret:
    """Return the only line of a file, without its line end.

    Raises:
        SecretUnusable: as for ``read_text``, or the file does not have exactly one line.

    """
    text = read_text(path).removesuffix("\n").removesuffix("\r")
    if not text or not text.isprintable():
        raise SecretUnusable(f"{path}: must contain one line with the secret and nothing else")
    return Secret(text)


def stamp(path: Path | None) -> str:
    """Return a string that changes when a file is written, replaced or made readable."""
    if path is None:
        return ""
    try:
        status = path.stat()
    except OSError as error:
        return str(error.errno)
    return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}.{status.st_ctime_ns}"
