"""The help of the command ``emailrelay``, in groups: the common options or all of them."""

from collections.abc import Callable, Iterator

from emailrelay.classic.option import Option, OptionGroup, OptionKind
from emailrelay.classic.options import OPTIONS
from emailrelay.terminal.command_line import ARGUMENTS
from emailrelay.terminal.help_page import HelpEntry, HelpGroup, HelpPage

_ALL = ("emailrelay --help --verbose shows every option.",)
_NOTES = (
    (
        "Write values as --port 25, --port=25 or -p 25, and lists as --filter A,B or --filter A "
        "--filter B. Flags can stand together (-rl); --log=no turns one off."
    ),
    (
        "The configuration file has one option per line, without dashes: "
        "name value, or name=value. A # begins a comment, at the start or after a blank."
    ),
)
_FILE = HelpEntry(("config-file",), "A file with options; not the settings file of the services.")
_STATUSES = (
    (0, "success"),
    (1, "something could not be forwarded or started"),
    (2, "an address could not be bound"),
)
_EXAMPLES = (
    "emailrelay --as-server                    # keep mail from local programs",
    "emailrelay --as-client mail.isp.net:smtp  # forward it, then exit",
    "emailrelay --as-proxy mail.isp.net:smtp   # forward it while the client waits",
    "emailrelay --as-server --forward-to mail.isp.net:smtp --poll 60",
)


def page(*, complete: bool, available: Callable[[Option], bool]) -> HelpPage:
    """Return the help: every option, or only the common ones.

    The options that are not ``available`` in this release follow at the end.
    """
    return HelpPage(
        "emailrelay",
        ("[options] [config-file]",),
        ("Receives mail over SMTP, keeps it safe, and forwards it to the next server.",),
        tuple(_groups(available, complete=complete)),
        notes=_NOTES if complete else _ALL + _NOTES,
        statuses=_STATUSES,
        examples=_EXAMPLES,
    )


def _groups(available: Callable[[Option], bool], *, complete: bool) -> Iterator[HelpGroup]:
    shown = [option for option in OPTIONS if complete or option.common]
    there = [option for option in shown if available(option)]
    later = [option for option in shown if option not in there]
    groups = [(group.value, [o for o in there if o.group is group]) for group in OptionGroup]
    for title, options in [*groups, ("Not available yet", later)]:
        if options:
            yield HelpGroup(title, tuple(_entry(o, complete=complete) for o in options))
    yield HelpGroup(ARGUMENTS, (_FILE,))


def _entry(option: Option, *, complete: bool) -> HelpEntry:
    text = option.text if complete else f"{option.text.partition('. ')[0].rstrip('.')}."
    if option.default:
        text = f"{text} [{option.default}]"
    letter = (f"-{option.letter}",) if option.letter else ()
    word = option.word
    if option.kind is OptionKind.OPTIONAL:
        word = f"[={word.strip('[]')}]"
    elif option.kind is OptionKind.VALUE:
        word = word or "VALUE"
    return HelpEntry((*letter, f"--{option.name}"), text, word)
