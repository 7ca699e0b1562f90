"""The files and variables of a host that manual pages name."""

from docs.generate.man import Entry

SETTINGS = Entry(
    "/etc/emailrelay/emailrelay.toml",
    "The settings file of all commands; see emailrelay.toml(5).",
)
_SECRETS = Entry(
    "/etc/emailrelay/emailrelay.auth",
    "Names and passwords, for the settings server_auth and client_auth. Only its owner and the "
    "group of the services can read it.",
)
_USERS = Entry(
    "/etc/emailrelay/console.auth",
    "The users of the console, for the setting console_auth. Only its owner and the group of the "
    "services can read it.",
)
_SPOOL = Entry(
    "/var/spool/emailrelay",
    "The spool directory: the messages, their state, and the history of those that have left.",
)
_RUNTIME = Entry(
    "/run/emailrelay",
    "The runtime directory: the state and the counters of the services, for emailrelay-monitor(1).",
)
_UNITS = Entry("/etc/systemd/system/emailrelay*.service", "The units that start the services.")
_ALIASES = Entry("/etc/mailname", "The domain for addresses without one, if no setting names it.")
_CLASSIC = Entry("/etc/emailrelay.conf", "A configuration file, which the command line names.")
_COMMON = (SETTINGS, _SPOOL)
_OF_SERVICE = (SETTINGS, _SECRETS, _SPOOL, _RUNTIME, _UNITS)
FILES = {
    "emailrelay": (_CLASSIC, _SECRETS, _SPOOL),
    "emailrelay-receiver": _OF_SERVICE,
    "emailrelay-filterd": (SETTINGS, _SPOOL, _RUNTIME, _UNITS),
    "emailrelay-forwarder": _OF_SERVICE,
    "emailrelay-monitor": (SETTINGS, _SPOOL, _RUNTIME, _UNITS),
    "emailrelay-console": (SETTINGS, _USERS, _SPOOL, _RUNTIME, _UNITS),
    "emailrelay-queue": _COMMON,
    "emailrelay-store": (SETTINGS,),
    "emailrelay-submit": (*_COMMON, _ALIASES),
    "emailrelay-notify": _COMMON,
    "emailrelay-passwd": (_SECRETS, _USERS),
    "emailrelay-auth": _COMMON,
    "emailrelay-config": (SETTINGS, _SECRETS, _SPOOL, _RUNTIME),
    "emailrelay-doctor": (SETTINGS, _SECRETS),
    "emailrelay-filter-test": (SETTINGS,),
    "emailrelay-setup": (SETTINGS, _SPOOL, _UNITS),
    "emailrelay.toml": (SETTINGS, _SECRETS, _SPOOL, _RUNTIME),
}
"""The files of each page."""

_CONFIG = Entry(
    "EMAILRELAY_CONFIG",
    "The settings file. Empty: no file. Without it, /etc/emailrelay/emailrelay.toml is read if it "
    "exists.",
)
_EACH = Entry(
    "EMAILRELAY_SETTING",
    "Each setting has a variable: its name in capitals after EMAILRELAY_, as in "
    "EMAILRELAY_SPOOL_DIR. Options override the environment, and the environment overrides the "
    "file.",
)
_PLACE = Entry("EMAILRELAY_SPOOL_DIR, EMAILRELAY_STORE", "The spool directory, or another store.")
_COLUMNS = Entry("COLUMNS", "The width of the help and of tables, in place of the terminal's.")
_COLOUR = Entry("NO_COLOR", "If it is set, the output has no colours.")
_SERVICE = (_CONFIG, _EACH)
VARIABLES = {
    "emailrelay-receiver": _SERVICE,
    "emailrelay-filterd": _SERVICE,
    "emailrelay-forwarder": _SERVICE,
    "emailrelay-monitor": _SERVICE,
    "emailrelay-console": _SERVICE,
    "emailrelay-queue": (_CONFIG, _PLACE, _COLUMNS, _COLOUR),
    "emailrelay-store": _SERVICE,
    "emailrelay-submit": (_CONFIG, _PLACE),
    "emailrelay-notify": (_CONFIG, _PLACE),
    "emailrelay-auth": (*_SERVICE, _COLUMNS),
    "emailrelay-config": _SERVICE,
    "emailrelay-doctor": (*_SERVICE, _COLUMNS, _COLOUR),
    "emailrelay-filter-test": (_CONFIG,),
    "emailrelay.toml": _SERVICE,
}
"""The variables of each page."""
