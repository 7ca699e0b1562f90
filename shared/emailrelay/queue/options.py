"""The options that the commands of ``emailrelay-queue`` have in common."""

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
    typer.Option(metavar="URL", envvar="EMAILRELAY_STORE", help="Another store, as spool:///DIR."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")]
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Message ids, or names of their files.")
]
Sender = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PATTERN",
        help="Only from this sender; * and ? stand for others, <> for none.",
    ),
]
Recipient = Annotated[
    str | None, typer.Option("--to", metavar="PATTERN", help="Only to this recipient.")
]
States = Annotated[list[State] | None, typer.Option("--state", help="Only in this state.")]
Older = Annotated[
    str | None, typer.Option(metavar="AGE", help="Only older than this: 90s, 15m, 12h, 5d, 2w.")
]
All = Annotated[bool, typer.Option("--all", help="Every message that the command applies to.")]


def selection(
    *,
    ids: list[str] | None,
    sender: str | None,
    recipient: str | None,
    states: list[State] | None,
    older: str | None,
) -> Selection:
    """Put the selectors together.

    Raises:
        typer.BadParameter: an age is no age.

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
