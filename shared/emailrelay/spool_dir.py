"""Where the spool directory is when the command line does not say: one rule for all commands.

The environment (``EMAILRELAY_SPOOL_DIR``) goes before the settings file that the environment names
(``EMAILRELAY_CONFIG``), and this before the default. Services and ``emailrelay`` read both by
``emailrelay.config``, which needs more time than a program that sends mail has.
"""

import errno
import os

VARIABLE = "EMAILRELAY_SPOOL_DIR"
SETTINGS = "EMAILRELAY_CONFIG"
_PACKAGED = "/var/spool/emailrelay"
_LOCAL = "/usr/local/var/spool/emailrelay"


def default() -> str:
    """Tell where mail is kept if nobody says: the packaged place if it is there, else the local one."""
    return _PACKAGED if os.path.isdir(_PACKAGED) else _LOCAL


def chosen() -> str:
    """Give the directory that the environment or its settings file names, else the default one.

    Raises:
        OSError: that file cannot be read, or is not TOML.

    """
    return os.environ.get(VARIABLE) or _in_file(os.environ.get(SETTINGS)) or default()


def _in_file(path: str | None) -> str | None:
    if not path:
        return None
    import tomllib  # noqa: PLC0415 -- only the few who name a file need it

    try:
        with open(path, "rb") as file:
            named = tomllib.load(file).get("spool_dir")
    except ValueError as error:
        raise OSError(errno.EINVAL, f"{SETTINGS} names no settings file: {error}", path) from error
    return os.path.abspath(named) if isinstance(named, str) else None
