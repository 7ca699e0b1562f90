"""One run of a filter chain on a message, and the result for its two files."""

import asyncio
import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emailrelay import envelope_format
from emailrelay.envelope import Envelope
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.shipped import dkim
from emailrelay.filters.shipped.parameters import DkimFilter
from emailrelay.filters.spec import Filter
from emailrelay.filters.verdict import Accept, Side, Spoken
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.store.claim import WorkCopy

_SUFFIX = {Side.SERVER: "new", Side.CLIENT: "busy"}
"""The suffix of the envelope's name, specified in docs/filters.md."""
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class TrialFile:
    """The file before and after the chain; None: it is gone or no longer a regular file."""

    before: bytes
    after: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result of a chain."""

    spoken: Spoken
    seconds: float
    content: TrialFile
    envelope: TrialFile
    beside: tuple[str, ...]
    """Names of additional files that the filters wrote."""
    notes: tuple[str, ...]
    """What a filter did not do, and why."""


def run(
    filters: Sequence[Filter],
    side: Side,
    content: bytes,
    envelope: Envelope,
    limits: ProgramLimits,
    *,
    domain: str | None,
) -> Trial:
    """Run a chain on a message in a temporary directory, which is removed afterwards.

    ``domain`` is the setting of that name.
    """
    message = QueueIds(secrets.randbits(PROCESS_BITS)).next(time.time())
    with tempfile.TemporaryDirectory(prefix="emailrelay-filter-test-") as name:
        directory = Path(name)
        both = f"{name}/emailrelay.{message}"
        copy = WorkCopy(f"{both}.content", f"{both}.envelope.{_SUFFIX[side]}")
        before = _LINE_END.sub(b"\r\n", content), envelope_format.write(envelope)
        copy.content.write_bytes(before[0])
        copy.envelope.write_bytes(before[1])
        spoken, seconds = asyncio.run(_run(filters, side, copy, message, limits, domain=domain))
        others = {path.name for path in directory.iterdir()}
        return Trial(
            spoken=spoken,
            seconds=seconds,
            content=TrialFile(before[0], _read(copy.content)),
            envelope=TrialFile(before[1], _read(copy.envelope)),
            beside=tuple(sorted(others - {copy.content.name, copy.envelope.name})),
            notes=tuple(_unsigned(filters, spoken, copy.content)),
        )


async def _run(
    filters: Sequence[Filter],
    side: Side,
    copy: WorkCopy,
    message: QueueId,
    limits: ProgramLimits,
    *,
    domain: str | None,
) -> tuple[Spoken, float]:
    async with Programs(limits, domain=domain, debug=True) as programs:
        chain = Chain(filters=filters, side=side, programs=programs)
        began = time.monotonic()
        spoken = await chain.run(copy, message=message)
        return spoken, time.monotonic() - began


def _unsigned(filters: Sequence[Filter], spoken: Spoken, content: Path) -> Iterator[str]:
    """Yield the filters that had no key for an accepted message."""
    if isinstance(spoken.verdict, Accept) and content.is_file():
        for one in filters:
            if isinstance(one, DkimFilter) and (reason := dkim.foreign(one.keys, content)):
                yield f"{one} does not sign: {reason}"


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
