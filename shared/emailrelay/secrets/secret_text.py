"""Files that hold one secret: refused when others can read them."""

import os
import stat
from pathlib import Path

from emailrelay.errors import RelayError
from emailrelay.secrets.secret import Secret

_MOST_OCTETS = 64 * 1024


class SecretUnusable(RelayError):
    """A file with a secret cannot be used; the text names it and shows nothing of what stands in it."""


def read_text(path: Path, *, secret: bool = True) -> str:
    """Give what stands in a file; ``secret``: it must be kept from others.

    Raises:
        SecretUnusable: it cannot be read, others can reach it, or it is no text.

    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            octets = file.read(_MOST_OCTETS + 1)
    except OSError as error:
        raise SecretUnusable(f"{path}: cannot be read: {error.strerror}") from error
    if secret and stat.S_IMODE(mode) & stat.S_IRWXO:
        raise SecretUnusable(f"{path}: holds a secret and others can reach it: chmod o= {path}")
    if len(octets) > _MOST_OCTETS:
        raise SecretUnusable(f"{path}: is too long for a secret")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        # Its words would quote the octet.
        raise SecretUnusable(f"{path}: is no text in UTF-8") from None


def read_line(path: Path) -> Secret:
    """Give the one line of a file, without its end.

    Raises:
        SecretUnusable: as ``read_text``, or there is no line, or more than one.

    """
    text = read_text(path).removesuffix("\n").removesuffix("\r")
    if not text or not text.isprintable():
        raise SecretUnusable(f"{path}: must hold the secret, one line, and nothing else")
    return Secret(text)


def stamp(path: Path | None) -> str:
    """Give a word that changes when a file is written, replaced, or made readable."""
    if path is None:
        return ""
    try:
        status = path.stat()
    except OSError as error:
        return str(error.errno)
    return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}.{status.st_ctime_ns}"
