"""Where the spool directory is when nobody has said."""

import os
from pathlib import Path

VARIABLE = "EMAILRELAY_SPOOL_DIR"
_PACKAGED = Path("/var/spool/emailrelay")
_LOCAL = Path("/usr/local/var/spool/emailrelay")


def default() -> Path:
    """/var/spool/emailrelay if it is there, else /usr/local/var/spool/emailrelay."""
    return _PACKAGED if _PACKAGED.is_dir() else _LOCAL


def chosen() -> Path:
    """Give the directory that the environment names, else the default one."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else default()
