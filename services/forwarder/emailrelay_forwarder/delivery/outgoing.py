"""The message of one attempt: as stored, or as client filters have edited it."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.journal import History
from emailrelay.reply import Reply
from emailrelay.store.base import CHUNK
from emailrelay.store.claim import Claim, WorkCopy

_LEFT_OUT = Reply(250, "2.0.0 left out by a client filter")


class Outgoing(NamedTuple):
    """One message on its way to a server."""

    claim: Claim
    envelope: Envelope
    size: int
    """Octets of content."""
    content: Callable[[], AsyncIterator[bytes]]
    """Yields the content from its beginning; raises StoreError if it cannot be read."""


def as_it_is(claim: Claim) -> Outgoing:
    """Return the message as stored."""
    return Outgoing(claim=claim, envelope=claim.envelope, size=claim.size, content=claim.content)


def edited(claim: Claim, copy: WorkCopy, envelope: Envelope) -> Outgoing:
    """Return the message in a copy that filters may have edited, with ``envelope``.

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


def with_added(came: Envelope, sent: Envelope) -> Envelope:
    """Return the envelope with the recipients that a filter added: they must be done as well."""
    added = tuple(who for who in sent.recipients if who not in came.recipients)
    return came._replace(to_remote=(*came.to_remote, *added)) if added else came


def for_all(
    came: Envelope, sent: Envelope, replies: Mapping[Address, Reply], history: History
) -> dict[Address, Reply]:
    """Return the replies, and the replies they imply for recipients that a filter replaced.

    ``came`` is the envelope before the filter, ``sent`` the one after it. If both have the same
    number of recipients, each new one replaces the one in its place of the list. Otherwise all new
    ones together replace each missing one, which is done when all of them are. A recipient without
    replacement was left out.
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
    """Return the reply for a recipient that several replace; None: some have no reply yet."""
    if not replies:
        return _LEFT_OUT
    if None in replies:
        return None
    known = [reply for reply in replies if reply is not None]
    refusals = [reply for reply in known if not reply.accepted]
    later = [reply for reply in refusals if not reply.permanent]
    return next(iter(later or refusals or known))
