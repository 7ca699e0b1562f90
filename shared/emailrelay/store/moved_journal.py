"""The journal of a message that moves to another store: few lines with the same history."""

from collections.abc import Iterator

from emailrelay.acceptance import Accepted
from emailrelay.journal import (
    Attempt,
    Doubted,
    Entry,
    Flushed,
    Held,
    History,
    Moving,
    Notified,
    Released,
)
from emailrelay.stage import Stage


def entries(history: History, *, length: int, crc32: int, moving: Moving) -> list[Entry]:
    """Return the lines for a history and its move; the content has this length and CRC-32.

    A message of another program, which has no line of acceptance, gets one.
    """
    return [*_lines(history, length, crc32, moving.at), moving]


def _lines(history: History, length: int, crc32: int, now: float) -> Iterator[Entry]:
    accepted_at = history.accepted_at
    if accepted_at is None:
        accepted_at = now if history.started_at is None else history.started_at
    yield Accepted(
        at=accepted_at,
        stage=history.stage or Stage.READY,
        length=length if history.length is None else history.length,
        crc32=crc32 if history.crc32 is None else history.crc32,
        ack=history.ack,
        session=history.session,
        dsn=history.dsn,
    )
    if history.released or history.started_at not in (None, accepted_at):
        yield Released(at=history.started_at or accepted_at)
    yield from _attempts(history)
    if history.failed is not None:
        yield history.failed
    if history.held:
        yield Held(at=now, stage=history.stage or Stage.READY, reason=history.held_for)
    for peer in history.doubts:
        yield Doubted(at=now, peer=peer)
    if history.notified:
        yield history.notice or Notified(at=now)


def _attempts(history: History) -> Iterator[Entry]:
    last = history.last_attempt
    if last is None:
        return
    yield Attempt(at=last.at, peer="", replies=history.refused, tries=history.attempts)
    if history.delivered:
        yield Attempt(at=last.at, peer="", replies=history.delivered, tries=0)
    # The last one stays for its reasons; its results are counted already.
    lasting = {
        address: reply
        for address, reply in last.replies.items()
        if not reply.permanent or address in history.refused
    }
    yield Attempt(
        at=last.at,
        peer=last.peer,
        replies=lasting,
        trouble=last.trouble,
        next_attempt=last.next_attempt,
        tries=0,
        tls=last.tls,
    )
    if history.next_attempt is None and last.next_attempt is not None:
        yield Flushed(at=last.at)
