"""The help text, in groups: the common options or all of them."""

import textwrap
from collections.abc import Callable, Iterable, Iterator

from emailrelay.classic.options import OPTIONS, Group, Option, OptionKind

_INDENT = 34
_WIDTH = 98

_BEGIN = """\
usage: emailrelay [options] [config-file]

Receives mail over SMTP, keeps it safe, and forwards it to the next server.

  emailrelay --as-server                     keep mail from local programs
  emailrelay --as-client mail.isp.net:smtp   forward it, then exit
  emailrelay --as-proxy mail.isp.net:smtp    forward it while the client waits
  emailrelay --as-server --forward-to mail.isp.net:smtp --poll 60
                                             keep it, and forward it in the background
"""

_END = """\
Write values as --port 25, --port=25 or -p 25. Flags can stand together (-rl); --log=no turns one off.
The configuration file has one option per line, without dashes: name value, or name=value.
A # begins a comment line.
Exit status: 0 done; 1 something could not be forwarded or started; 2 an address could not be bound.
"""


def make(*, complete: bool, available: Callable[[Option], bool]) -> str:
    """Return the help: every option, or only the common ones.

    The options that are not ``available`` in this release follow at the end.
    """
    shown = [option for option in OPTIONS if complete or option.common]
    parts = [_BEGIN]
    for group in Group:
        options = [o for o in shown if o.group is group and available(o)]
        if options:
            parts.append(f"{group}:\n" + "".join(_entries(options)))
    later = [option for option in shown if not available(option)]
    if later:
        parts.append("Not available yet:\n" + "".join(_entries(later)))
    parts.append(_END if complete else "emailrelay --help --verbose shows every option.\n\n" + _END)
    return "\n".join(parts)


def _entries(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        names = _names(option)
        said = f"{option.text} [{option.default}]" if option.default else option.text
        lines = textwrap.wrap(said, _WIDTH - _INDENT)
        if len(names) > _INDENT - 2:
            yield f"{names}\n"
            names = ""
        for line in lines:
            yield f"{names:<{_INDENT}}{line}\n"
            names = ""


def _names(option: Option) -> str:
    letter = f"-{option.letter}, " if option.letter else "    "
    value = option.word if option.kind is OptionKind.OPTIONAL else f" {option.word}".rstrip()
    value = value.replace("[", "[=", 1) if option.kind is OptionKind.OPTIONAL else value
    return f"  {letter}--{option.name}{value}"
