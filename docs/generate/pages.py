"""The manual page of each command, from the declaration of its options."""

from collections.abc import Iterator, Sequence

from docs.generate.man import Entry, ManPage, Section
from docs.generate.settings import Setting, of_service
from docs.generate.tools import (
    auth_page,
    config_page,
    doctor_page,
    filter_test_page,
    notify_page,
    passwd_page,
    queue_page,
    setup_page,
    store_page,
    submit_page,
)

from emailrelay.classic.option import Option, OptionGroup, OptionKind
from emailrelay.classic.options import OPTIONS
from emailrelay.classic.services import available
from emailrelay.config import SERVICES, Settings

_COMMANDS = (
    "emailrelay",
    "emailrelay-receiver",
    "emailrelay-filterd",
    "emailrelay-forwarder",
    "emailrelay-queue",
    "emailrelay-store",
    "emailrelay-submit",
    "emailrelay-notify",
    "emailrelay-passwd",
    "emailrelay-auth",
    "emailrelay-config",
    "emailrelay-doctor",
    "emailrelay-filter-test",
    "emailrelay-setup",
)

_GENERAL = (
    Entry("-c, --config FILE", "The settings file (TOML), one for all services."),
    Entry(
        "--check-config",
        "Check all that the start needs, show the settings, and exit: 0 if all is well, else 78. With =json, "
        "print one JSON object. See emailrelay-config(1).",
    ),
    Entry("--version", "Show the version; with --verbose, the capabilities too."),
    Entry("-h, --help", "Show a summary of the options."),
)
_OF_A_SERVICE = (
    Section(
        "Environment",
        (
            "Each option can also be set by a variable: EMAILRELAY_ and its name in capitals, as in EMAILRELAY_SPOOL_DIR.",
            "EMAILRELAY_CONFIG names the settings file, else it is /etc/emailrelay/emailrelay.toml, if it exists. Options override the environment, and the environment overrides the file.",
        ),
    ),
    Section(
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
                "Read the settings again; they apply to new clients and later messages. If anything is wrong, "
                "nothing changes, and the log lists every problem.",
            ),
        ),
    ),
    Section(
        "Exit status",
        (),
        (
            Entry("0", "A signal stopped the service, or its work was done."),
            Entry("69", "An address could not be used."),
            Entry("75", "The store cannot be used now: try again later."),
            Entry(
                "78",
                "The settings are wrong, or name a store that cannot be used; every problem is on standard error.",
            ),
        ),
    ),
)


def all_pages() -> Iterator[ManPage]:
    """Yield every page."""
    yield _classic()
    for service in SERVICES:
        yield _service(service)
    yield queue_page(_see_also("emailrelay-queue"))
    yield store_page(_see_also("emailrelay-store"))
    yield submit_page(_see_also("emailrelay-submit"))
    yield notify_page(_see_also("emailrelay-notify"))
    yield passwd_page(_see_also("emailrelay-passwd"))
    yield auth_page(_see_also("emailrelay-auth"))
    yield config_page(_see_also("emailrelay-config"))
    yield doctor_page(_see_also("emailrelay-doctor"))
    yield filter_test_page(_see_also("emailrelay-filter-test"))
    yield setup_page(_see_also("emailrelay-setup"))


def _see_also(name: str) -> Sequence[str]:
    return [other for other in _COMMANDS if other != name]


def _service(settings: type[Settings]) -> ManPage:
    options = [
        Section(group.title, (), [_of_setting(setting) for setting in group.settings])
        for group in of_service(settings.program)
    ]
    return ManPage(
        name=settings.program,
        summary=_as_summary(settings.summary),
        synopsis=("[-c FILE] [options]",),
        sections=(Section("General options", (), _GENERAL), *options, *_OF_A_SERVICE),
        see_also=_see_also(settings.program),
    )


def _of_setting(setting: Setting) -> Entry:
    default = f" Default: {setting.default}." if setting.default else ""
    return Entry(f"{setting.flag} {setting.word}", setting.text + default)


def _as_summary(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _classic() -> ManPage:
    there = [option for option in OPTIONS if available(option)]
    later = [option for option in OPTIONS if option not in there]
    groups = [(group.value, [o for o in there if o.group is group]) for group in OptionGroup]
    sections = [
        Section(title, (), [_of_option(option) for option in options])
        for title, options in [*groups, ("Not available yet", later)]
        if options
    ]
    return ManPage(
        name="emailrelay",
        summary="receives mail over SMTP, keeps it safe, and forwards it to the next server",
        synopsis=("[options] [config-file]",),
        sections=(
            *sections,
            Section(
                "Configuration file",
                (
                    "One option on each line, without dashes: name value, or name=value. # begins a comment.",
                ),
            ),
            Section(
                "Exit status",
                (),
                (
                    Entry("0", "Done, or nothing to do."),
                    Entry("1", "Something could not be forwarded or started."),
                    Entry("2", "An address could not be bound."),
                ),
            ),
        ),
        see_also=_see_also("emailrelay"),
    )


def _of_option(option: Option) -> Entry:
    letter = f"-{option.letter}, " if option.letter else ""
    word = option.word or ("VALUE" if option.kind is OptionKind.VALUE else "")
    if option.kind is OptionKind.OPTIONAL:
        term = f"{letter}--{option.name}[={word.strip('[]')}]"
    else:
        term = f"{letter}--{option.name} {word}".rstrip()
    default = f" Default: {option.default}." if option.default else ""
    return Entry(term, option.text + default)
