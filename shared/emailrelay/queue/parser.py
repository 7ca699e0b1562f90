"""The command line of ``emailrelay-queue``: its commands, and the options of each.

A command is imported when it is called: to import them all takes longer than to list a small queue.
"""

import argparse
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
from emailrelay.queue.state import State
from emailrelay.terminal.command_line import CommandLineParser


class Verb(NamedTuple):
    """A command. Its function takes the parsed arguments and returns the exit status."""

    summary: str
    form: str
    """The words behind its name, for the help."""
    function: str
    """``MODULE:NAME``, in this package."""
    options: tuple[Callable[[CommandLineParser], None], ...]
    examples: tuple[str, ...]
    """The words behind the name of the program."""


_ID = "1795347486274.3124025358502.2"
_STATUSES = (
    (0, "done"),
    (1, "a part was not done, no message matched, or damage was found"),
    (64, "the command line is wrong"),
    (66, "there is no such store"),
    (75, "the store cannot be used now"),
    (78, "the settings are wrong"),
)
_CHOICE = (
    f"Choose messages by id, by selectors (a message must match all of them), or by --all. The "
    f"states are {', '.join(State)}."
)
_CHECK_STATUSES = ((0, "OK"), (1, "WARNING"), (2, "CRITICAL"), (3, "UNKNOWN"))
_LOOK = "view_commands"
_CHANGE = "change_commands"
_MANY, _ONE, _NONE = "[options] [ID]...", "[options] ID...", "[options]"


def _changing(
    summary: str,
    *examples: str,
) -> Verb:
    return Verb(summary, _MANY, f"{_CHANGE}:change", (add_selectors, add_consent), examples)


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "list": Verb(
            "List messages.",
            _MANY,
            f"{_LOOK}:list_messages",
            (add_selectors, add_by, add_limit, add_wide),
            ("list --state deferred --older 4h", "list --by reply"),
        ),
        "show": Verb(
            "Show all details of messages: headers, envelope, tries, replies.",
            _ONE,
            "show_command:show",
            (add_ids, add_wide),
            (f"show {_ID}",),
        ),
        "cat": Verb(
            "Print the content of messages, as it would be sent.",
            _ONE,
            "show_command:cat",
            (add_ids,),
            (f"cat {_ID} > message.eml",),
        ),
        "trace": Verb(
            "Show what became of messages, including those that have left.",
            "[options] ID|ADDRESS|MESSAGE-ID|REPLY",
            "trace_command:trace",
            (add_trace,),
            ("trace bob@example.net --since 2d", "trace 'mailbox full'"),
        ),
        "stats": Verb(
            "Count messages and octets in each state.",
            _NONE,
            f"{_LOOK}:stats",
            (),
            ("stats", "stats --json"),
        ),
        "flush": _changing(
            "Try deferred messages now; their age continues.",
            "flush --all",
            "flush --to '*@example.net' --dry-run",
        ),
        "hold": _changing(
            "Hold messages until you release them.", "hold --from 'news@*' --dry-run"
        ),
        "release": _changing(
            "Release held messages; their age starts again.", "release --from 'news@*' --yes"
        ),
        "retry": _changing(
            "Retry failed, held or deferred messages; their age starts again.",
            "retry --state failed --newer 1d --dry-run",
        ),
        "fail": _changing(
            "Give up messages: keep them as failed, and tell their senders.",
            "fail --older 2w --dry-run",
        ),
        "delete": _changing(
            "Delete messages for good, without a notice to the sender.",
            "delete --from '<>' --older 2w --dry-run",
        ),
        "route": Verb(
            "Show the route that a message would take now, and why.",
            "[options] FROM TO",
            "route_command:route",
            (add_route,),
            ("route ann@example.com bob@example.org",),
        ),
        "check": Verb(
            "Report the state of the queue to a monitoring system, in one line.",
            _NONE,
            "check_command:check",
            (add_thresholds,),
            ("check --warning 15m --critical 1h",),
        ),
        "verify": Verb(
            "Look for damage; only --repair changes anything.",
            _NONE,
            "verify_command:verify",
            (add_repair, add_contents),
            ("verify --contents",),
        ),
        "export": Verb(
            "Move all messages into another store, each once.",
            "[options] STORE",
            "move_commands:export",
            (add_other_store,),
            ("export postgresql://relay@db.example.test/mail",),
        ),
        "import": Verb(
            "Move all messages from another store into this one.",
            "[options] STORE",
            "move_commands:import_from",
            (add_other_store,),
            ("import spool:///var/spool/old-relay",),
        ),
    }
)
"""The commands by their names, in the order of the help."""


def general_parser(program: str) -> CommandLineParser:
    """Return the parser of the words before the command's own: ``command`` and ``rest``."""
    parser = CommandLineParser(
        program,
        "[options] COMMAND [options] [ID]...",
        "Show the queue, and hold, retry or delete its messages.",
        notes=(_CHOICE,),
        statuses=_STATUSES,
        examples=tuple(f"{program} {words}" for words in ("list", "trace bob@example.net")),
        verbs=lambda: [verb_parser(program, name).page() for name in VERBS],
    )
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    add_common(parser)
    return parser


def verb_parser(program: str, name: str) -> CommandLineParser:
    """Return the parser of a command's own words."""
    verb = VERBS[name]
    parser = CommandLineParser(
        f"{program} {name}",
        verb.form,
        verb.summary,
        examples=tuple(f"{program} {words}" for words in verb.examples),
        statuses=_CHECK_STATUSES if name == "check" else (),
        version=False,
    )
    for add in verb.options:
        add(parser)
    add_common(parser)
    return parser
