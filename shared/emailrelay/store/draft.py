"""A message that is being written to a store: invisible until it is committed (``base``)."""

import asyncio
from abc import ABC, abstractmethod
from typing import Self

from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage


class Draft(ABC):
    """A message being written. Leaving its ``async with`` block without ``commit`` discards it."""

    id: QueueId

    @abstractmethod
    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """Append to the content. False: await ``drain`` before the next ``write``.

        The caller may change the chunk's octets afterwards. ``commit`` includes the last ``drain``.

        Raises:
            StoreError: disk full or any other I/O error; the draft can only be left.

        """

    async def drain(self) -> None:  # noqa: B027 - a default
        """Wait until the store can take more content. The default suits stores that always can.

        Raises:
            StoreError: see ``write``.

        """

    @abstractmethod
    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """Make the message durable and visible at ``stage``: UNFILTERED or READY.

        May be cancelled: the message then either is committed or leaves nothing. With an ``ack``
        other than STORED the client's answer follows from ``answer``. FILTERED at READY is taken
        for STORED: there are no filters to wait for. DELIVERED mail need not be on stable storage,
        for its client has no 250 yet. ``session`` names the client's session, whose messages share
        a connection to the next server. ``dsn`` holds the client's requests.

        Raises:
            StoreError: it is not committed, and leaves nothing that the store can still remove.

        """

    @abstractmethod
    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """Wait for the answer to a message committed with an ``ack`` other than STORED.

        It waits at most ``within`` seconds, and not once the client has ``gone``.

        None: there is no answer, and none will come. The message then is ordinary mail (FILTERED)
        or withdrawn (DELIVERED). If its final dot is on the way, log and journal name a possible
        duplicate. If the store cannot be asked, it names one as well, and the reply is a 451.
        """

    def refused(self) -> None:  # noqa: B027 - a default
        """Remove the message if the commit that failed was made all the same.

        It is for a caller that wanted to put the message elsewhere under the same id, and could
        not. The default suits stores that know whether a commit was made.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Leave nothing of an uncommitted draft; give up waiting for an answer."""

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Discard what was not committed."""
        await self.discard()
