"""The manual page of the settings file, made of the declarations of the settings."""

from collections.abc import Iterator, Sequence

from docs.generate.host_files import FILES, VARIABLES
from docs.generate.man import Entry, ManPage, Section
from docs.generate.settings import Key, Setting, all_groups, all_tables

from emailrelay.config import SERVICES

_NAME = "emailrelay.toml"
_EXAMPLE = (
    "# /etc/emailrelay/emailrelay.toml",
    'forward_to = "smtp.example.net:587"',
    'client_auth = "/etc/emailrelay/emailrelay.auth"',
    "client_tls = true",
    "client_tls_required = true",
)


def settings_page(see_also: Sequence[str]) -> ManPage:
    """Return the page ``emailrelay.toml(5)``."""
    return ManPage(
        name=_NAME,
        number=5,
        summary="settings of E-MailRelay",
        synopsis=("/etc/emailrelay/emailrelay.toml",),
        sections=(
            Section(
                "Description",
                (
                    (
                        "All commands read this file if it exists; "
                        "only emailrelay(1) has a file of its own. "
                        "The file is TOML: one setting a line, as name = value; texts stand "
                        "in quotes, and # begins a comment."
                    ),
                    (
                        "One file serves all services: "
                        "each reads its own settings and ignores those of the others. "
                        "emailrelay-config(1) makes the file, checks it, and shows "
                        "what is in force. After a change, a service reads it again at SIGHUP, "
                        "except for the settings that say so."
                    ),
                ),
            ),
            Section("Settings", parts=list(_groups())),
            Section("Tables", parts=list(_tables())),
            Section("Environment", (), VARIABLES[_NAME]),
            Section("Files", (), FILES[_NAME]),
            Section("Examples", lines=_EXAMPLE),
        ),
        see_also=see_also,
    )


def _groups() -> Iterator[Section]:
    for group in all_groups():
        about = () if len(group.services) == len(SERVICES) else (_for(group.services),)
        yield Section(group.title, about, [_entry(setting) for setting in group.settings])


def _tables() -> Iterator[Section]:
    for table in all_tables():
        keys = [_entry(key) for key in table.keys]
        yield Section(table.heading, (f"{table.text} {_for(table.services)}",), keys)


def _for(services: Sequence[str]) -> str:
    return f"For {', '.join(f'{service}(1)' for service in services)}."


def _entry(setting: Setting | Key) -> Entry:
    unit = {"SECONDS": "seconds", "BYTES": "octets"}.get(setting.word, "")
    unit = f" In {unit}." if unit and unit not in setting.text else ""
    default = f" Default: {setting.default}." if setting.default else ""
    later = " A change waits for the next start." if getattr(setting, "at_start", False) else ""
    return Entry(f"{setting.name} = {setting.sample}", f"{setting.text}{unit}{default}{later}")
