"""Where the spool directory is when nobody has said."""

import os

VARIABLE = "EMAILRELAY_SPOOL_DIR"
_PACKAGED = "/var/spool/emailrelay"
_LOCAL = "/usr/local/var/spool/emailrelay"


def default() -> str:
    """/var/spool/emailrelay if it is there, else /usr/local/var/spool/emailrelay."""
    return _PACKAGED if os.path.isdir(_PACKAGED) else _LOCAL


def chosen() -> str:
    """Give the directory that the environment names, else the default one."""
    return os.environ.get(VARIABLE) or default()
