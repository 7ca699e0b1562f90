"""The command line of ``emailrelay-queue``: its commands, and the options of each.

A command is imported when it is called: to import them all takes longer than to list a small queue.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from emailrelay import settings_file
from emailrelay.queue.errors import PROGRAM
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
from emailrelay.terminal.run_command import CommandLineError
from emailrelay.terminal.verbs import ProgramOfVerbs, Verb

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


def _later(place: str) -> Callable[[Namespace], int]:
    """Return a command's function, ``MODULE:NAME`` in this package, which a call imports."""
    module, _, name = place.partition(":")

    def act(asked: Namespace) -> int:
        if asked.config is not None:
            os.environ[settings_file.VARIABLE] = asked.config
        function: Callable[[Namespace], int] = getattr(
            import_module(f"emailrelay.queue.{module}"), name
        )
        return function(asked)

    return act


def _check_misused(error: CommandLineError) -> int:
    # A monitoring system takes the status of a wrong command line, 64, for no answer at all.
    from emailrelay.queue.check_command import unknown  # noqa: PLC0415 - of one command

    return unknown(str(error).replace("\n", ", "))


def _changing(
    summary: str,
    *examples: str,
) -> Verb:
    act = _later(f"{_CHANGE}:change")
    return Verb(summary, _MANY, act, (add_selectors, add_consent), examples)


_VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "list": Verb(
            "List messages.",
            _MANY,
            _later(f"{_LOOK}:list_messages"),
            (add_selectors, add_by, add_limit, add_wide),
            ("list --state deferred --older 4h", "list --by reply"),
        ),
        "show": Verb(
            "Show all details of messages: headers, envelope, tries, replies.",
            _ONE,
            _later("show_command:show"),
            (add_ids, add_wide),
            (f"show {_ID}",),
        ),
        "cat": Verb(
            "Print the content of messages, as it would be sent.",
            _ONE,
            _later("show_command:cat"),
            (add_ids,),
            (f"cat {_ID} > message.eml",),
        ),
        "trace": Verb(
            "Show what became of messages, including those that have left.",
            "[options] ID|ADDRESS|MESSAGE-ID|REPLY",
            _later("trace_command:trace"),
            (add_trace,),
            ("trace bob@example.net --since 2d", "trace 'mailbox full'"),
        ),
        "stats": Verb(
            "Count messages and octets in each state.",
            _NONE,
            _later(f"{_LOOK}:stats"),
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
            _later("route_command:route"),
            (add_route,),
            ("route ann@example.com bob@example.org",),
        ),
        "check": Verb(
            "Report the state of the queue to a monitoring system, in one line.",
            _NONE,
            _later("check_command:check"),
            (add_thresholds,),
            ("check --warning 15m --critical 1h",),
            statuses=_CHECK_STATUSES,
            misused=_check_misused,
        ),
        "verify": Verb(
            "Look for damage; only --repair changes anything.",
            _NONE,
            _later("verify_command:verify"),
            (add_repair, add_contents),
            ("verify --contents",),
        ),
        "export": Verb(
            "Move all messages into another store, each once.",
            "[options] STORE",
            _later("move_commands:export"),
            (add_other_store,),
            ("export postgresql://relay@db.example.test/mail",),
        ),
        "import": Verb(
            "Move all messages from another store into this one.",
            "[options] STORE",
            _later("move_commands:import_from"),
            (add_other_store,),
            ("import spool:///var/spool/old-relay",),
        ),
    }
)

QUEUE = ProgramOfVerbs(
    PROGRAM,
    "Show the queue, and hold, retry or delete its messages.",
    _VERBS,
    statuses=_STATUSES,
    examples=("list", "trace bob@example.net"),
    form="[options] COMMAND [options] [ID]...",
    notes=(_CHOICE,),
    options=(add_common,),
)
