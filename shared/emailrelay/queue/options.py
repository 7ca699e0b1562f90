"""Options of the commands of ``emailrelay-queue``."""

from argparse import ArgumentTypeError, Namespace

from emailrelay.queue.grouping import Grouping
from emailrelay.queue.selection import RoutesOf, Selection, no_routes, parse_age, parse_id
from emailrelay.queue.state import State
from emailrelay.terminal import common_options
from emailrelay.terminal.command_line import CommandLineParser

TABLE_ROWS = 1000
"""Default number of rows of a list: it is complete in memory before it is printed."""
TRACED = 100
"""Default number of messages that a trace shows."""
_AGES = "90s, 15m, 12h, 5d, 2w"
_MOST_DIGITS = 18
"""So that a number fits into 64 bits: databases and slices take no larger one."""


def add_common(parser: CommandLineParser) -> None:
    """Add the options of all commands; they also stand before the command."""
    title = "Store and output"
    parser.add(common_options.JSON, title, action="store_true")
    parser.add(common_options.SPOOL_DIR, title)
    parser.add(common_options.STORE, title)
    parser.add(common_options.CONFIG, title)


def add_ids(parser: CommandLineParser) -> None:
    """Add ids, of which there must be one."""
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="Message ids, or names of message files."
    )


def add_wide(parser: CommandLineParser) -> None:
    """Add the form without cuts."""
    parser.add_argument(
        "-w", "--wide", action="store_true", help="Cut no text, and show exact times and sizes."
    )


def add_by(parser: CommandLineParser) -> None:
    """Add the grouping."""
    parser.add_argument(
        "--by",
        choices=list(Grouping),
        type=_grouping,
        help="Count the messages in groups instead of listing them.",
    )


def add_selectors(parser: CommandLineParser) -> None:
    """Add the choice of messages."""
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="Message ids, or names of message files."
    )
    title = "Selection (all conditions must match)"
    parser.add_argument(
        "--state",
        metavar="STATE",
        dest="states",
        action="append",
        type=_state,
        help=f"Only this state: {', '.join(State)}. Repeatable.",
        title=title,
    )
    parser.add_argument(
        "--from",
        metavar="PATTERN",
        dest="sender",
        help="Only this sender; * and ? are wildcards, <> is the null sender.",
        title=title,
    )
    parser.add_argument(
        "--to",
        metavar="PATTERN",
        dest="recipient",
        help="Only this recipient; * and ? are wildcards.",
        title=title,
    )
    parser.add_argument(
        "--older",
        metavar="AGE",
        type=_age,
        help=f"Only messages older than this: {_AGES}.",
        title=title,
    )
    parser.add_argument(
        "--newer",
        metavar="AGE",
        type=_age,
        help="Only messages that arrived within this time.",
        title=title,
    )
    parser.add_argument(
        "--reply",
        metavar="TEXT",
        help="Only this last reply, or a part of it; * and ? are wildcards. A line of"
        " 'list --by reply' can be given as it is.",
        title=title,
    )
    parser.add_argument(
        "--route",
        metavar="NAME",
        help="Only messages that would take this route now; the settings file names the routes.",
        title=title,
    )
    parser.add_argument(
        "--all",
        action="store_true",
        dest="everything",
        help="All messages that the command applies to.",
        title=title,
    )


def add_limit(parser: CommandLineParser) -> None:
    """Add the number of rows."""
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_number,
        help=f"Only the oldest N; 0 = all. [{TABLE_ROWS}; all with --json]",
    )


def add_trace(parser: CommandLineParser) -> None:
    """Add the text to search for, and the bounds of the search."""
    parser.add_argument(
        "text",
        metavar="ID|ADDRESS|MESSAGE-ID|REPLY",
        help="A message id, an address or part of one, a Message-ID, a user, words of a"
        " server's reply, or a line of 'list --by reply'.",
    )
    parser.add_argument(
        "--since",
        metavar="AGE",
        type=_age,
        help="Only messages that left within this time: 12h, 2d, 1w.",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_number,
        help=f"Only the newest N; 0 = all. [{TRACED}; all with --json]",
    )


def add_consent(parser: CommandLineParser) -> None:
    """Add the consent to a change, or its trial."""
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="Show the messages, and change nothing."
    )
    parser.add_argument("-y", "--yes", action="store_true", help="Do not ask.")


def add_thresholds(parser: CommandLineParser) -> None:
    """Add the limits of ``check``."""
    for name, default, of in (("warning", "15m", "WARNING"), ("critical", "1h", "CRITICAL")):
        parser.add_argument(
            f"--{name}",
            metavar="AGE",
            type=_age,
            default=parse_age(default),
            help=f"{of} if a message has waited longer than this. [{default}]",
        )
    for name, of in (("warning", "WARNING"), ("critical", "CRITICAL")):
        parser.add_argument(
            f"--{name}-waiting",
            metavar="N",
            type=_number,
            help=f"{of} if more messages wait. [no limit]",
        )
    for name, number, of in (("warning", 0, "WARNING"), ("critical", None, "CRITICAL")):
        parser.add_argument(
            f"--{name}-failed",
            metavar="N",
            type=_number,
            default=number,
            help=(
                f"{of} if more failed messages are kept. "
                f"[{'no limit' if number is None else number}]"
            ),
        )
    for name, percent, of in (("warning", 10, "WARNING"), ("critical", 5, "CRITICAL")):
        parser.add_argument(
            f"--{name}-free",
            metavar="PERCENT",
            type=_number,
            default=percent,
            help=f"{of} if less of the spool's disk is free. [{percent}]",
        )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_time_limit,
        default=parse_age("10s"),
        help="UNKNOWN if the store has not answered within this time. [10s]",
    )


def add_route(parser: CommandLineParser) -> None:
    """Add the addresses of ``route``."""
    parser.add_argument("sender", metavar="FROM", help="The sender; <> is the null sender.")
    parser.add_argument("recipient", metavar="TO", help="The recipient.")
    parser.add_argument(
        "--user", metavar="NAME", default="", help="The user who logged in to send it. [none]"
    )


def add_repair(parser: CommandLineParser) -> None:
    """Add the repair of ``verify``."""
    parser.add_argument(
        "--repair", action="store_true", help="Repair each problem, or set the files aside."
    )


def add_contents(parser: CommandLineParser) -> None:
    """Add the contents for ``verify``."""
    parser.add_argument(
        "--contents", action="store_true", help="Read each content and verify its checksum."
    )


def add_other_store(parser: CommandLineParser) -> None:
    """Add the other store of a move."""
    parser.add_argument("other", metavar="STORE", help="The other store: a directory or a URL.")


def selection(asked: Namespace) -> Selection:
    """Return the choice of messages that ``add_selectors`` has read."""
    return Selection(
        ids=frozenset(parse_id(text) for text in asked.ids),
        states=frozenset(asked.states or ()),
        older=asked.older,
        newer=asked.newer,
        sender=asked.sender,
        recipient=asked.recipient,
        reply=asked.reply,
        route=asked.route,
        routes_of=no_routes if asked.route is None else read_routes(),
    )


def read_routes() -> RoutesOf:
    """Return a function that gives the routes of a message's recipients.

    Raises:
        ConfigError: the settings are wrong.

    """
    # Reading the settings takes longer than most lists.
    from emailrelay.queue.route_names import routes_of  # noqa: PLC0415

    return routes_of()


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text}: not a state; use {', '.join(State)}") from error


def _grouping(text: str) -> Grouping:
    try:
        return Grouping(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text}: not a grouping; use {', '.join(Grouping)}") from error


def _age(text: str) -> float:
    try:
        return parse_age(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _time_limit(text: str) -> float:
    seconds = _age(text)
    if not seconds:  # a timer of 0 never ends
        raise ArgumentTypeError(f"{text}: must be longer than 0")
    return seconds


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ArgumentTypeError(f"{text}: not a number")
    if len(text) > _MOST_DIGITS:
        raise ArgumentTypeError(f"too large; a number has at most {_MOST_DIGITS} digits")
    return int(text)
