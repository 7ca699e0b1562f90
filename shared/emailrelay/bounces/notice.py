"""Makes the notices about failed messages in their store, each together with its record."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from emailrelay.bounces import digest, dsn
from emailrelay.bounces.failures import FailedRecipient
from emailrelay.envelope import Address
from emailrelay.queue_id import QueueId
from emailrelay.store.failure import FailedMessage, PreparedNotice


async def prepare(
    failure: FailedMessage,
    to: tuple[Address, ...],
    failures: tuple[FailedRecipient, ...],
    *,
    host: str,
    local: bool = False,
) -> PreparedNotice:
    """Prepare the notice about one message; see ``FailedMessage.prepare``."""
    beginning = await failure.beginning(dsn.LARGEST_RETURN + 1)
    history = failure.history
    attempt = history.last_attempt

    def text(message: QueueId) -> bytes:
        return dsn.compose(
            dsn.FailureReport(
                id=message,
                about=failure.id,
                host=host,
                to=to,
                failures=failures,
                arrived=history.accepted_at,
                last_attempt=None if attempt is None else attempt.at,
                now=time.time(),
                beginning=beginning,
                envelope_id=history.dsn.envelope_id,
                give_back=history.dsn.give_back,
            )
        )

    return await failure.prepare(text, local=local, to=to)


class OneOfMany(NamedTuple):
    """A failed message that shares its notice."""

    failure: FailedMessage
    failures: tuple[FailedRecipient, ...]


async def prepare_together(
    many: Sequence[OneOfMany], to: tuple[Address, ...], *, host: str
) -> PreparedNotice:
    """Prepare one notice about several messages, which are in the same store."""
    failed = [
        digest.FailedOne(
            id=one.failure.id,
            arrived=one.failure.history.accepted_at,
            failures=one.failures,
            beginning=await one.failure.beginning(digest.BEGINNING),
        )
        for one in many
    ]

    def text(message: QueueId) -> bytes:
        return digest.compose(message=message, host=host, to=to, now=time.time(), failed=failed)

    first, *others = (one.failure for one in many)
    return await first.prepare(text, local=False, to=to, also=others)
