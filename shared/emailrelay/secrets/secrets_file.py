"""A secrets file on disk: refused if other users can read it, read again after a change."""

from collections.abc import Mapping
from pathlib import Path

from emailrelay.errors import ConfigError
from emailrelay.secrets.accounts import ClientSecrets, ServerSecrets
from emailrelay.secrets.parsing import ParsedSecrets, parse
from emailrelay.secrets.secret_text import SecretUnusable, read_octets, stamp

_MOST_OCTETS = 16 * 1024 * 1024


class SecretsFile:
    """The content of the file when it was last readable.

    ``SecretsFile(path)`` reads the file at once and raises ``ConfigError`` with every problem.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = stamp(path)
        parsed = _read(path)
        self.client: ClientSecrets = parsed.client
        """The client accounts."""
        self.server: ServerSecrets = parsed.server
        """The users of the receiver, or of the console."""
        self.roles: Mapping[str, str] = parsed.roles
        """The role of each user who has one."""

    def refresh(self) -> bool:
        """Read the file again after a change; return True if it was read.

        Call it before each session: it costs one ``stat``.

        Raises:
            ConfigError: the changed file is unusable; raised once for each change. The previous
                content stays in use.

        """
        now = stamp(self.path)
        if now == self._seen:
            return False
        self._seen = now
        parsed = _read(self.path)
        self.client, self.server, self.roles = parsed.client, parsed.server, parsed.roles
        return True


def _read(path: Path) -> ParsedSecrets:
    try:
        parsed = parse(read_octets(path, _MOST_OCTETS))
    except SecretUnusable as error:
        raise ConfigError([str(error)]) from error
    if parsed.problems:
        raise ConfigError([f"{path}:{problem}" for problem in parsed.problems])
    return parsed
