"""Lines for systemd's journal: each begins with its importance."""

import os

ERROR, WARNING, INFO, DEBUG = "<3>", "<4>", "<6>", "<7>"
"""The levels of syslog as prefixes of a line (sd-daemon(3)); the journal takes them off."""


def leads_to_journal(descriptor: int) -> bool:
    """Tell whether a descriptor is a connection to the journal.

    ``JOURNAL_STREAM`` has the device and inode of that connection (systemd.exec(5)). Processes
    inherit the variable even if their own output goes elsewhere.
    """
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:  # closed
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
