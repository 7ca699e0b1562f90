"""Options of several commands of ``emailrelay-queue``."""

from pathlib import Path
from typing import Annotated

import typer

from emailrelay.queue.selection import Selection, parse_age, parse_id
from emailrelay.queue.state import State

SpoolDir = Annotated[
    Path | None,
    typer.Option("--spool-dir", "-s", metavar="DIR", help="The spool directory."),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="EMAILRELAY_STORE", help="Use another store, such as spool:///DIR."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Message ids, or names of message files."),
]
Sender = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PATTERN",
        help="Only this sender; * and ? are wildcards, <> is the null sender.",
    ),
]
Recipient = Annotated[
    str | None,
    typer.Option("--to", metavar="PATTERN", help="Only this recipient; * and ? are wildcards."),
]
States = Annotated[
    list[State] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help=f"Only this state: {', '.join(State)}. Repeatable.",
    ),
]
Older = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Only messages older than this: 90s, 15m, 12h, 5d, 2w."),
]
All = Annotated[bool, typer.Option("--all", help="All messages that the command applies to.")]


def selection(
    *,
    ids: list[str] | None,
    sender: str | None,
    recipient: str | None,
    states: list[State] | None = None,
    older: str | None,
) -> Selection:
    """Combine the selectors.

    Raises:
        typer.BadParameter: ``older`` is not an age.

    """
    try:
        seconds = None if older is None else parse_age(older)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older") from error
    return Selection(
        ids=frozenset(parse_id(text) for text in ids or ()),
        sender=sender,
        recipient=recipient,
        states=frozenset(states or ()),
        older=seconds,
    )
