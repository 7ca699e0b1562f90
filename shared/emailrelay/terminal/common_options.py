"""The options that several commands have: one name, one text."""

from emailrelay.settings_file import DEFAULT, VARIABLE
from emailrelay.terminal.help_page import HelpEntry

HELP = HelpEntry(("-h", "--help"), "Show this help and exit.")
VERSION = HelpEntry(
    ("-V", "--version"), "Show the version and exit. With --verbose, show the capabilities too."
)
CONFIG = HelpEntry(
    ("-c", "--config"), f"The settings file. [${VARIABLE}; {DEFAULT} if it exists]", "FILE"
)
SPOOL_DIR = HelpEntry(
    ("-s", "--spool-dir"), "The spool directory. [spool_dir in the settings file]", "DIR"
)
STORE = HelpEntry(
    ("--store",),
    "The URL of a store: spool:///DIR, or postgresql://USER@HOST/DATABASE."
    " [store in the settings file]",
    "URL",
)
JSON = HelpEntry(("--json",), "Print JSON for programs, one object per line.")
GENERAL = "General"
"""The title of the last group of each help."""
