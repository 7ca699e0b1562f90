"""The help of ``emailrelay-submit``."""

from emailrelay.submit.arguments import PROGRAM
from emailrelay.terminal.command_line import ARGUMENTS, OPTIONS
from emailrelay.terminal.common_options import CONFIG, GENERAL, HELP, SPOOL_DIR, STORE, VERSION
from emailrelay.terminal.help_page import HelpEntry, HelpGroup, HelpPage

_OPTIONS = (
    HelpEntry(("-t",), "Take the recipients from To:, Cc: and Bcc:."),
    HelpEntry(
        ("-f", "-r", "--from"), "The sender, who gets notices of failure; <> for none.", "ADDRESS"
    ),
    HelpEntry(("-i", "-oi"), "A line with only a dot does not end the message."),
    HelpEntry(("-F",), "The full name for From: if the message has no From:.", "NAME"),
    HelpEntry(
        ("--domain",),
        "The domain for addresses without one. [domain of the settings; /etc/mailname; this host's "
        "name]",
        "NAME",
    ),
    HelpEntry(("-v", "--verbose"), "Print the path of the message's content file."),
)
_TASKS = (
    HelpEntry(("-bs",), "Speak SMTP on standard input and output."),
    HelpEntry(("-bp",), "Show the queue (also when called as mailq)."),
    HelpEntry(("-q",), "Try deferred messages now."),
)
_PORT = HelpEntry(
    ("--port",),
    "The receiver's port on localhost, for users without write access to the store. [port of the "
    "settings; 25]",
    "N",
)
PAGE = HelpPage(
    PROGRAM,
    ("[options] [RECIPIENT]... < MESSAGE",),
    ("Put a message into the store; the forwarder sends it.",),
    (
        HelpGroup(ARGUMENTS, (HelpEntry(("RECIPIENT",), "The address of a recipient."),)),
        HelpGroup(OPTIONS, _OPTIONS),
        HelpGroup("Other tasks", _TASKS),
        HelpGroup("Store", (SPOOL_DIR, STORE, _PORT, CONFIG._replace(names=("--config",)))),
        HelpGroup(
            GENERAL, (HELP._replace(names=("--help",)), VERSION._replace(names=("--version",)))
        ),
    ),
    notes=(
        (
            "Variables such as EMAILRELAY_SPOOL_DIR override the settings file. Other options of "
            "sendmail are accepted, and ignored."
        ),
    ),
    statuses=(
        (0, "the message is on stable storage"),
        (64, "the command line is wrong"),
        (65, "no message"),
        (66, "standard input cannot be read, or no store"),
        (69, "refused by the receiver"),
        (75, "try again later"),
        (77, "no permission to read the store"),
    ),
    examples=(
        f"printf 'Subject: hello\\n\\nIt works.\\n' | {PROGRAM} you@example.net",
        f"{PROGRAM} -t < message.eml",
    ),
)
