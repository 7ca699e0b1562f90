"""The command line of ``emailrelay-queue``: its commands, and the options of each.

A command is imported when it is called: to import them all takes longer than to list a small queue.
"""

import argparse
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from emailrelay.queue.options import (
    add_by,
    add_common,
    add_consent,
    add_contents,
    add_ids,
    add_limit,
    add_other_store,
    add_repair,
    add_route,
    add_selectors,
    add_thresholds,
    add_trace,
    add_wide,
)
from emailrelay.terminal.command_line import CommandLineParser


class Verb(NamedTuple):
    """A command. Its function takes the parsed arguments and returns the exit status."""

    summary: str
    function: str
    """``MODULE:NAME``, in this package."""
    options: tuple[Callable[[ArgumentParser], None], ...]


_LOOK = "view_commands"
_CHANGE = "change_commands"
VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "list": Verb(
            "List messages.", f"{_LOOK}:list_messages", (add_selectors, add_by, add_limit, add_wide)
        ),
        "show": Verb(
            "Show all details of messages: headers, envelope, tries, replies.",
            "show_command:show",
            (add_ids, add_wide),
        ),
        "cat": Verb(
            "Print the content of messages, as it would be sent.", "show_command:cat", (add_ids,)
        ),
        "trace": Verb(
            "Show what became of messages, also of those that have left.",
            "trace_command:trace",
            (add_trace,),
        ),
        "stats": Verb("Count messages and octets in each state.", f"{_LOOK}:stats", ()),
        "flush": Verb(
            "Try deferred messages now; their age continues.",
            f"{_CHANGE}:change",
            (add_selectors, add_consent),
        ),
        "hold": Verb(
            "Hold messages until you release them.",
            f"{_CHANGE}:change",
            (add_selectors, add_consent),
        ),
        "release": Verb(
            "Release held messages; their age starts again.",
            f"{_CHANGE}:change",
            (add_selectors, add_consent),
        ),
        "retry": Verb(
            "Retry failed, held or deferred messages; their age starts again.",
            f"{_CHANGE}:change",
            (add_selectors, add_consent),
        ),
        "fail": Verb(
            "Give up messages: keep them as failed, and tell their senders.",
            f"{_CHANGE}:change",
            (add_selectors, add_consent),
        ),
        "delete": Verb(
            "Delete messages for good, without a notice to the sender.",
            f"{_CHANGE}:change",
            (add_selectors, add_consent),
        ),
        "route": Verb(
            "Show the route that a message would take now, and why.",
            "route_command:route",
            (add_route,),
        ),
        "check": Verb(
            "Report the state of the queue to a monitoring system, in one line.",
            "check_command:check",
            (add_thresholds,),
        ),
        "verify": Verb(
            "Look for damage; only --repair changes anything.",
            "verify_command:verify",
            (add_repair, add_contents),
        ),
        "export": Verb(
            "Move all messages into another store, each once.",
            "move_commands:export",
            (add_other_store,),
        ),
        "import": Verb(
            "Move all messages from another store into this one.",
            "move_commands:import_from",
            (add_other_store,),
        ),
    }
)
"""The commands by their names, in the order of the help."""


def general_parser(program: str) -> CommandLineParser:
    """Return the parser of the words before the command's own: ``command`` and ``rest``."""
    width = max(map(len, VERBS))
    commands = "\n".join(f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items())
    parser = CommandLineParser(
        prog=program,
        usage="%(prog)s [options] COMMAND [options] [ID]...",
        description="Show the queue, and hold, retry or delete its messages.",
        epilog=f"commands:\n{commands}\n\n{program} COMMAND --help shows the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("-V", "--version", action="store_true", help="Show the version and exit.")
    add_common(parser)
    return parser


def verb_parser(program: str, name: str) -> CommandLineParser:
    """Return the parser of a command's own words."""
    verb = VERBS[name]
    parser = CommandLineParser(
        prog=f"{program} {name}", description=verb.summary, allow_abbrev=False
    )
    for add in verb.options:
        add(parser)
    add_common(parser)
    return parser
