"""The settings file of all commands: where it is, and its keys.

``--config`` takes precedence over ``EMAILRELAY_CONFIG``, and that over the file that every command
reads if it exists. An empty ``EMAILRELAY_CONFIG`` means no file at all. A program that sends mail
reads the file too, so this module imports little.
"""

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from emailrelay.errors import ConfigError

DEFAULT = "/etc/emailrelay/emailrelay.toml"
looked_at = DEFAULT
"""Where the default file is looked for; tests name another place."""
VARIABLE = "EMAILRELAY_CONFIG"


class SettingsUnreadable(ConfigError):
    """The settings file exists, and this user has no permission to read it."""


class SettingsFile(NamedTuple):
    """A settings file that has been read."""

    path: str = ""
    """Empty: there is no file."""
    text: str = ""
    values: Mapping[str, object] = {}

    def place(self, name: str, *inside: str | int) -> str:
        """Return where a key is: ``port in relay.toml, line 3``; ``inside``: see ``line_of``."""
        from emailrelay.toml_text import line_of  # noqa: PLC0415 -- few programs need the line

        number = line_of(self.text, name, *inside)
        shown = f"[[{name}]]" if inside and isinstance(inside[0], int) else name
        return f"{shown} in {self.path}" + (f", line {number}" if number else "")


def chosen(config: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the path of the settings file; None if there is none.

    ``config`` is that of the command line. A file that is named is returned even if it is missing,
    because its absence is a mistake.
    """
    if config is not None:
        return config
    if VARIABLE in environ:
        return environ[VARIABLE] or None
    try:
        os.stat(looked_at)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        # This user cannot enter a directory. Going on without the settings could put mail into a
        # spool that no service looks at.
        return looked_at
    return looked_at


def read(config: str | None, environ: Mapping[str, str]) -> SettingsFile:
    """Read the settings file, if there is one.

    Raises:
        SettingsUnreadable: this user has no permission.
        ConfigError: it cannot be read, or it is not TOML; the text names the line.

    """
    path = chosen(config, environ)
    if path is None:
        return SettingsFile()
    text = _text(path)
    import tomllib  # noqa: PLC0415 -- only needed with a settings file

    try:
        return SettingsFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        from emailrelay import toml_text  # noqa: PLC0415 -- only needed for mistakes

        raise ConfigError([toml_text.problem(text, path, str(error))]) from error


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except PermissionError as error:
        raise SettingsUnreadable(
            [f"{path}: cannot be read: {error.strerror}{_readers(path)}"]
        ) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from error


def _readers(path: str) -> str:
    """Return the advice for a user without permission."""
    for place in (path, os.path.dirname(path)):
        try:
            status = os.stat(place)
            if not status.st_mode & stat.S_IRGRP:
                break
            import grp  # noqa: PLC0415 -- only needed for mistakes

            return f"; become root, or a member of the group {grp.getgrgid(status.st_gid).gr_name}"
        except (OSError, KeyError):
            continue
    return "; become root"
