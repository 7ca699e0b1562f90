"""Where the spool directory is when nobody has said."""

import os

VARIABLE = "EMAILRELAY_SPOOL_DIR"
_PACKAGED = "/var/spool/emailrelay"
_LOCAL = "/usr/local/var/spool/emailrelay"


def default() -> str:
    """Tell where mail is kept if nobody says: the packaged place if it is there, else the local one."""
    return _PACKAGED if os.path.isdir(_PACKAGED) else _LOCAL


def chosen() -> str:
    """Give the directory that the environment names, else the default one."""
    return os.environ.get(VARIABLE) or default()
