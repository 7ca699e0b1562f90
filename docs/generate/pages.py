"""The manual page of each command, made of its help."""

from collections.abc import Iterator

from docs.generate.commands import all_help
from docs.generate.host_files import FILES, SETTINGS, VARIABLES
from docs.generate.man import Entry, ManPage, Section
from docs.generate.settings_page import settings_page

from emailrelay.config import SERVICES
from emailrelay.terminal.common_options import GENERAL
from emailrelay.terminal.help_page import HelpEntry, HelpGroup, HelpPage

_SERVICES = frozenset(service.program for service in SERVICES)
_SIGNALS = Section(
    "Signals",
    (),
    (
        Entry(
            "TERM, INT",
            "Finish the current work, by default within five seconds; exit with status 0.",
        ),
        Entry("USR1", "Try all waiting mail now, whatever its retry time."),
        Entry(
            "HUP",
            "Read the settings again; they apply to new clients and later messages. If anything is "
            "wrong, nothing changes, and the log lists every problem.",
        ),
    ),
)
_MORE = {
    "emailrelay-submit": Section(
        "Other names",
        (
            (
                "Under the name sendmail it does the same; "
                "under the name mailq it shows the queue. "
                "Under the name newaliases it does nothing, because the aliases are a setting."
            ),
        ),
    ),
    **dict.fromkeys(_SERVICES, _SIGNALS),
}
"""What a page has beside the help."""


_PREFIX = "emailrelay-"
_SEE_ALSO = {
    "emailrelay": ("queue", "submit", "notify", "passwd"),
    "emailrelay-receiver": ("filterd", "forwarder", "submit", "passwd", "config"),
    "emailrelay-filterd": ("receiver", "forwarder", "filter-test", "config"),
    "emailrelay-forwarder": ("receiver", "filterd", "queue", "doctor", "auth", "config"),
    "emailrelay-monitor": ("receiver", "filterd", "forwarder", "queue"),
    "emailrelay-console": ("queue", "monitor", "passwd", "doctor", "config"),
    "emailrelay-queue": ("submit", "forwarder", "doctor", "notify"),
    "emailrelay-store": ("queue", "config"),
    "emailrelay-submit": ("queue", "receiver", "forwarder"),
    "emailrelay-notify": ("queue", "forwarder"),
    "emailrelay-passwd": ("receiver", "forwarder", "console", "config"),
    "emailrelay-auth": ("forwarder", "doctor"),
    "emailrelay-config": ("setup", "doctor", "receiver", "filterd", "forwarder"),
    "emailrelay-doctor": ("forwarder", "queue", "auth", "config"),
    "emailrelay-filter-test": ("filterd", "receiver"),
    "emailrelay-setup": ("config", "receiver", "filterd", "forwarder"),
}
"""The commands that the reader of a page may want next."""


def all_pages() -> Iterator[ManPage]:
    """Yield every page."""
    pages = all_help()
    for name, page in pages.items():
        others = [f"{_PREFIX}{other}(1)" for other in _SEE_ALSO[name]]
        settings = ["emailrelay.toml(5)"] if SETTINGS in FILES[name] else []
        yield _page(page, others + settings)
    yield settings_page([f"{name}(1)" for name in pages])


def _page(page: HelpPage, see_also: list[str]) -> ManPage:
    name = page.program
    # The notes of a service are about sources and signals, which have sections here.
    notes = () if name in _SERVICES else page.notes
    return ManPage(
        name=name,
        summary=_summary(page.about[0]),
        synopsis=page.forms,
        sections=(
            Section("Description", (*page.about, *notes)),
            *_commands(page),
            _options("Options", page.groups),
            *([_MORE[name]] if name in _MORE else ()),
            *_entries("Environment", VARIABLES.get(name, ())),
            *_entries("Files", FILES[name]),
            Section(
                "Exit status",
                (),
                [_status(number, text) for number, text in page.statuses],
            ),
            Section("Examples", lines=page.examples),
        ),
        see_also=see_also,
    )


def _status(number: int, text: str) -> Entry:
    return Entry(str(number), f"{text[:1].upper()}{text[1:]}.")


def _summary(about: str) -> str:
    """Return the first sentence for the line NAME, which ``apropos`` shows."""
    sentence = about.partition(". ")[0].partition(": ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def _commands(page: HelpPage) -> Iterator[Section]:
    if not page.verbs:
        return
    verbs = [
        Section(
            f"{verb.program.rpartition(' ')[2]} {verb.forms[0]}",
            (*verb.about, *_statuses(verb)),
            [_entry(entry) for group in _own_groups(verb, page) for entry in group.entries],
            verb.examples,
        )
        for verb in page.verbs
    ]
    yield Section("Commands", parts=verbs)


def _statuses(verb: HelpPage) -> Iterator[str]:
    if verb.statuses:
        meanings = ", ".join(f"{status} {text}" for status, text in verb.statuses)
        yield f"Exit status: {meanings}."


def _own_groups(verb: HelpPage, page: HelpPage) -> Iterator[HelpGroup]:
    """Yield the groups of a command's help that the help of the program does not have."""
    return (group for group in verb.groups if group not in page.groups and group.title != GENERAL)


def _options(title: str, groups: tuple[HelpGroup, ...]) -> Section:
    return Section(
        title,
        parts=[Section(group.title, (), list(map(_entry, group.entries))) for group in groups],
    )


def _entry(entry: HelpEntry) -> Entry:
    return Entry(entry.term, entry.text)


def _entries(title: str, entries: tuple[Entry, ...]) -> Iterator[Section]:
    if entries:
        yield Section(title, (), entries)
