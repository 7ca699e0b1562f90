"""The help text, in groups: the common options or all of them."""

import textwrap
from collections.abc import Callable, Iterable, Iterator

from emailrelay.classic.option import Option, OptionGroup, OptionKind
from emailrelay.classic.options import OPTIONS

_INDENT = 28
_WIDTH = 80

_BEGIN = """\
usage: emailrelay [options] [config-file]

Receives mail over SMTP, keeps it safe, and forwards it to the next server.

  emailrelay --as-server                     keep mail from local programs
  emailrelay --as-client mail.isp.net:smtp   forward it, then exit
  emailrelay --as-proxy mail.isp.net:smtp    forward it while the client waits
  emailrelay --as-server --forward-to mail.isp.net:smtp --poll 60
                                             keep it, then forward it
"""

_END = """\
Write values as --port 25, --port=25 or -p 25, and lists as --filter A,B or
--filter A --filter B. Flags can stand together (-rl); --log=no turns one off.
The configuration file has one option per line, without dashes: name value, or
name=value. A # begins a comment line.
Exit status: 0 success; 1 something could not be forwarded or started; 2 an
address could not be bound.
"""


def make(*, complete: bool, available: Callable[[Option], bool]) -> str:
    """Return the help: every option, or only the common ones.

    The options that are not ``available`` in this release follow at the end.
    """
    shown = [option for option in OPTIONS if complete or option.common]
    parts = [_BEGIN]
    for group in OptionGroup:
        options = [o for o in shown if o.group is group and available(o)]
        if options:
            parts.append(f"{group}:\n" + "".join(_entries(options, complete=complete)))
    later = [option for option in shown if not available(option)]
    if later:
        parts.append("Not available yet:\n" + "".join(_entries(later, complete=complete)))
    parts.append(_END if complete else "emailrelay --help --verbose shows every option.\n\n" + _END)
    return "\n".join(parts)


def _entries(options: Iterable[Option], *, complete: bool) -> Iterator[str]:
    for option in options:
        names = _names(option)
        text = option.text if complete else _first_sentence(option.text)
        if option.default:
            text = f"{text} [{option.default}]"
        if len(names) > _INDENT - 2:
            yield f"{names}\n"
            names = ""
        for line in textwrap.wrap(text, _WIDTH - _INDENT, break_on_hyphens=False):
            yield f"{names:<{_INDENT}}{line}\n"
            names = ""


def _first_sentence(text: str) -> str:
    return f"{text.partition('. ')[0].rstrip('.')}."


def _names(option: Option) -> str:
    letter = f"-{option.letter}, " if option.letter else "    "
    value = option.word if option.kind is OptionKind.OPTIONAL else f" {option.word}".rstrip()
    value = value.replace("[", "[=", 1) if option.kind is OptionKind.OPTIONAL else value
    return f"  {letter}--{option.name}{value}"
