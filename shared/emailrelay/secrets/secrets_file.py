"""A secrets file on disk: refused if other users can read it, read again after a change."""

import os
import stat
from pathlib import Path

from emailrelay.errors import ConfigError
from emailrelay.secrets.accounts import ClientSecrets, ServerSecrets
from emailrelay.secrets.parsing import ParsedSecrets, parse

_MOST_OCTETS = 16 * 1024 * 1024


class SecretsFile:
    """The content of the file when it was last readable.

    ``SecretsFile(path)`` reads the file at once and raises ``ConfigError`` with every problem.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _identity(path)
        parsed = _read(path)
        self.client: ClientSecrets = parsed.client
        """The client accounts."""
        self.server: ServerSecrets = parsed.server
        """The users of the receiver."""

    def refresh(self) -> bool:
        """Read the file again after a change; return True if it was read.

        Call it before each session: it costs one ``stat``.

        Raises:
            ConfigError: the changed file is unusable; raised once for each change. The previous
                content stays in use.

        """
        now = _identity(self.path)
        if now == self._seen:
            return False
        self._seen = now
        parsed = _read(self.path)
        self.client, self.server = parsed.client, parsed.server
        return True


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - one system call, before each session
    except OSError:
        return None
    # ctime shows a chmod, and a change within one tick of mtime.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(path: Path) -> ParsedSecrets:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            octets = file.read(_MOST_OCTETS)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if stat.S_IMODE(status.st_mode) & stat.S_IRWXO:
        raise ConfigError([f"{path}: holds secrets, and other users have access: chmod o= {path}"])
    parsed = parse(octets)
    if parsed.problems:
        raise ConfigError([f"{path}:{problem}" for problem in parsed.problems])
    return parsed
