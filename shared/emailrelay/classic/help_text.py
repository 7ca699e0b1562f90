"""The help: grouped, the common options or all of them."""

import textwrap
from collections.abc import Callable, Iterable, Iterator

from emailrelay.classic.options import OPTIONS, Group, Option, OptionKind

_INDENT = 34
_WIDTH = 98

_BEGIN = """\
usage: emailrelay [options] [config-file]

Takes mail in over SMTP, keeps it safe, and passes it on to the next server.

  emailrelay --as-server                     keep what local programs send
  emailrelay --as-client mail.isp.net:smtp   pass it on, then end
  emailrelay --as-proxy mail.isp.net:smtp    pass it on while the client waits
  emailrelay --as-server --forward-to mail.isp.net:smtp --poll 60
                                             keep it, and pass it on in the background
"""

_END = """\
A value follows as --port 25, --port=25 or -p 25; flags can be written together (-rl), or as --log=no.
The configuration file has one option a line without dashes: name value, or name=value; # comments.
Exit status: 0 done; 1 something could not be forwarded or started; 2 an address could not be bound.
"""


def make(*, complete: bool, available: Callable[[Option], bool]) -> str:
    """Return the help: with every option, or with the common ones.

    Those that are not ``available`` in this release stand apart, at the end.
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
