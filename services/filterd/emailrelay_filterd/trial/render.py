"""Describes a trial: the verdict, the reply for the client, and the changes."""

import difflib
from collections.abc import Iterator
from typing import assert_never

from emailrelay.filters.verdict import Abandon, Accept, BrokenFilter, Reject, Side, Skip, Verdict
from emailrelay_filterd.trial.trial import Trial, TrialFile

_MOST_CHANGES = 40
"""The most lines of a difference that are shown."""


def lines(trial: Trial, side: Side) -> Iterator[str]:
    """Yield the lines that describe a trial."""
    verdict = trial.spoken.verdict
    yield f"verdict:  {_meaning(verdict, side)}"
    if trial.spoken.filter:
        yield f"by:       {trial.spoken.filter}"
    if isinstance(verdict, Reject | BrokenFilter):
        yield f"reply:    {verdict.reply}"
        yield f"reason:   {verdict.reason}"
    if isinstance(verdict, Accept) and verdict.quarantine is not None:
        yield f"reason:   {verdict.quarantine}"
    for one in verdict.refused:
        yield f"refused:  <{one.address}> by {one.filter}: {one.reply}"
    if verdict.rescan:
        yield "asks to:  look at the spool again"
    if verdict.stop_run:
        yield "asks to:  stop this run of the forwarder"
    yield f"time:     {trial.seconds:.3f} s"
    for note in trial.notes:
        yield f"note:     {note}"
    for name in trial.beside:
        yield f"beside:   {name}"
    yield from _changes("content", trial.content)
    yield from _changes("envelope", trial.envelope)


def _meaning(verdict: Verdict, side: Side) -> str:
    server = side is Side.SERVER
    match verdict:
        case Accept():
            return _accepted(verdict, "accepted" if server else "sent as it is now")
        case Reject():
            return "rejected" if server else "failed for good"
        case Abandon():
            what = "delivered to mailboxes of this host" if verdict.delivered else "dropped"
            return f"{what}; the client is told 250"
        case Skip():
            return "skipped; the message stays queued"
        case BrokenFilter():
            return "none: the message is held back and tried again"
        case _:
            assert_never(verdict)


def _accepted(verdict: Accept, word: str) -> str:
    return word if verdict.quarantine is None else "accepted, and held until it is released"


def _changes(name: str, file: TrialFile) -> Iterator[str]:
    label = f"{name}:".ljust(10)
    if file.after is None:
        yield f"{label}gone"
    elif file.after == file.before:
        yield f"{label}unchanged, {len(file.before)} octets"
    else:
        yield f"{label}changed, {len(file.before)} -> {len(file.after)} octets"
        differing = list(
            difflib.unified_diff(_shown(file.before), _shown(file.after), n=1, lineterm="")
        )[2:]
        yield from (f"  {line}" for line in differing[:_MOST_CHANGES])
        if len(differing) > _MOST_CHANGES:
            yield f"  ... ({len(differing) - _MOST_CHANGES} more lines)"


def _shown(octets: bytes) -> list[str]:
    # Other line ends are visible changes; control characters must not reach the terminal.
    texts = octets.decode("utf-8", "backslashreplace").split("\r\n")
    return ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) for text in texts]
