"""The default spool directory of all commands, used without an option on the command line.

The environment (``EMAILRELAY_SPOOL_DIR``) comes before the settings file that the environment names
(``EMAILRELAY_CONFIG``), and the file before the built-in default. Services and ``emailrelay`` read
both through ``emailrelay.config``, whose import is too slow for a program that sends mail.
"""

import errno
import os

VARIABLE = "EMAILRELAY_SPOOL_DIR"
SETTINGS = "EMAILRELAY_CONFIG"
_PACKAGED = "/var/spool/emailrelay"
_LOCAL = "/usr/local/var/spool/emailrelay"


def default() -> str:
    """Return the built-in default: the packaged directory if it exists, else the local one."""
    return _PACKAGED if os.path.isdir(_PACKAGED) else _LOCAL


def chosen() -> str:
    """Return the directory that the environment or its settings file names, else the default.

    Raises:
        OSError: the settings file cannot be read, or is not TOML.

    """
    return os.environ.get(VARIABLE) or _in_file(os.environ.get(SETTINGS)) or default()


def _in_file(path: str | None) -> str | None:
    if not path:
        return None
    import tomllib  # noqa: PLC0415 -- only needed with a settings file

    try:
        with open(path, "rb") as file:
            named = tomllib.load(file).get("spool_dir")
    except ValueError as error:
        raise OSError(
            errno.EINVAL, f"{SETTINGS} does not name a settings file: {error}", path
        ) from error
    return os.path.abspath(named) if isinstance(named, str) else None
