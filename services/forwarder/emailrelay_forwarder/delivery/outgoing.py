"""What is sent in one attempt: the message as it stands, or as client filters made it for this time."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.journal import History
from emailrelay.reply import Reply
from emailrelay.store.base import CHUNK, Claim, WorkCopy

_LEFT_OUT = Reply(250, "2.0.0 left out by a client filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message on its way to a server."""

    claim: Claim
    envelope: Envelope
    size: int
    """Octets of content."""
    content: Callable[[], AsyncIterator[bytes]]
    """Gives the content from its beginning; raises StoreError if it cannot be read."""


def as_it_is(claim: Claim) -> Outgoing:
    """Send what is in the store."""
    return Outgoing(claim=claim, envelope=claim.envelope, size=claim.size, content=claim.content)


def edited(claim: Claim, copy: WorkCopy, envelope: Envelope) -> Outgoing:
    """Send what filters left in a copy; ``envelope`` is what they left of that.

    Raises:
        StoreError: the copy cannot be read.

    """
    try:
        size = copy.content.lstat().st_size
    except OSError as error:
        raise StoreError(f"read {copy.content}", error) from error
    return Outgoing(claim=claim, envelope=envelope, size=size, content=lambda: _read(copy.content))


async def _read(path: Path) -> AsyncIterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            offset = 0
            while chunk := os.pread(descriptor, CHUNK, offset):
                offset += len(chunk)
                yield chunk
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"read {path}", error) from error


def everybody(came: Envelope, sent: Envelope) -> Envelope:
    """Give the envelope with those that a filter added: the message is not done before they are."""
    added = tuple(who for who in sent.recipients if who not in came.recipients)
    return came._replace(to_remote=(*came.to_remote, *added)) if added else came


def for_all(
    came: Envelope, sent: Envelope, replies: Mapping[Address, Reply], history: History
) -> dict[Address, Reply]:
    """Give the replies, and what they mean for recipients that ``came`` but were not ``sent`` to.

    A filter may have put others in a recipient's place. As long as their number is the same, each
    stands for the one in its own place of the list; else all that are new stand together for each
    that is gone, which is done with when all of them are. Nobody in its place: it was left out.
    """
    found = dict(replies)
    originals, reached = came.recipients, sent.recipients
    known = {**history.delivered, **history.refused, **replies}
    new = [address for address in reached if address not in originals]
    for place, original in enumerate(originals):
        if original in known or original in reached:
            continue
        paired = len(reached) == len(originals) and reached[place] in new
        stand_ins = [reached[place]] if paired else new
        reply = _together([known.get(address) for address in stand_ins])
        if reply is not None:
            found[original] = reply
    return found


def _together(replies: list[Reply | None]) -> Reply | None:
    """Give the answer for somebody for whom several stand: not done before all of them are."""
    if not replies:
        return _LEFT_OUT
    if None in replies:
        return None
    told = [reply for reply in replies if reply is not None]
    refusals = [reply for reply in told if not reply.accepted]
    later = [reply for reply in refusals if not reply.permanent]
    return next(iter(later or refusals or told))
