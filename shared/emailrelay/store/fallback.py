"""A store whose new mail goes into a second one while the first is away, and comes back by itself.

The second store is a spool on this host that no other service works on. A message has one id in
both. When a commit to the first store has an unknown fate, the message goes into the second under
that id, and the move to the first does not bring it in twice.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import RelayError, StoreError
from emailrelay.events import HandedOver, Report, StoreTrouble
from emailrelay.journal import AdministratorWish, Entry, History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.base import Claim, Draft, Feed, Listed, StageCount, Store, added
from emailrelay.store.failure import FailedMessage
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.limits import RouteLimits
from emailrelay.store.move import Mover
from emailrelay.store.verification import Verification

_LARGEST = 1024 * 1024
"""Octets of a message for which its way can change while it is received; a larger one gets 4yz."""
_PAUSE = 1.0
"""Seconds between two looks for mail to hand over, and between two tries to open the store."""


class FallbackStore(Store):
    """See ``Store``. ``first`` may be away at any time, also when the block is entered.

    ``origin`` names ``second`` in ``first`` (``Mover``). With ``hands_over`` the mail of ``second``
    moves to ``first`` when that is there.
    """

    def __init__(
        self, first: Store, second: Store, *, origin: str, report: Report, hands_over: bool
    ) -> None:
        self._first, self._second = first, second
        self._origin, self._report, self._hands_over = origin, report, hands_over
        self._open, self._reason = False, ""
        self.missing: str | None = None
        """The reason why a listing lacked the mail of the first store, if one did."""
        self._entrance: Stage | None = None
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """See ``Store``."""
        await self._second.__aenter__()
        try:
            await self._open_first()
        except BaseException:
            await self._second.__aexit__(None, None, None)
            raise
        if self._hands_over:
            self._work = asyncio.create_task(self._hand_over_always())
        return self

    async def _open_first(self) -> None:
        """Open the first store unless it is away.

        Raises:
            StoreUnusable: it cannot be used as configured.

        """
        try:
            await self._first.__aenter__()
        except StoreError as error:
            self._reason = str(error)
            self._report(StoreTrouble(doing="open the store", reason=self._reason))
        else:
            self._open = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See ``Store``."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        try:
            if self._open:
                await self._first.__aexit__(kind, error, traceback)
        finally:
            await self._second.__aexit__(kind, error, traceback)

    async def _hand_over_always(self) -> None:
        mover = Mover(
            source=self._second,
            target=self._first,
            origin=self._origin,
            clock=time.time,
            once=True,
        )
        begun, told = False, ""
        while True:
            try:
                if await self._there():
                    if not begun:
                        await mover.finish_earlier()
                        begun = True
                    if await self._waits():
                        await self._hand_over(mover)
            except RelayError as error:
                begun = False
                if str(error) != told:
                    told = str(error)
                    self._report(StoreTrouble(doing="hand mail over", reason=told))
            await asyncio.sleep(_PAUSE)

    async def _there(self) -> bool:
        """Return whether the first store can be used; open it if it was away until now."""
        if not self._open:
            with contextlib.suppress(StoreError):  # it was reported at the start
                await self._first.__aenter__()
                self._open = True
                if self._entrance is not None:
                    await self._first.set_entrance(self._entrance)
        return self._open and self._first.unavailable() is None

    async def _waits(self) -> bool:
        async for _ in self._second.listing():
            return True
        return False

    async def _hand_over(self, mover: Mover) -> None:
        before = mover.moved
        await mover.run()
        for message, reason in mover.left.items():
            self._report(StoreTrouble(doing=f"hand over {message}", reason=reason))
        if mover.moved > before:
            self._report(HandedOver(messages=mover.moved - before))

    @property
    def _now(self) -> Store:
        """The first store.

        Raises:
            StoreError: it is away.

        """
        if not self._open:
            raise StoreError("use the database", self._reason)
        return self._first

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        """See ``Store.draft``."""
        try:
            draft = self._now.draft(envelope, message)
        except RelayError:
            draft = self._second.draft(envelope, message)
            return _FallbackDraft(draft, None, envelope)
        return _FallbackDraft(draft, self._second, envelope)

    async def adopt(
        self,
        message: QueueId,
        envelope: Envelope,
        entries: Sequence[Entry],
        content: AsyncIterator[bytes],
        *,
        once: bool = False,
    ) -> None:
        """See ``Store.adopt``."""
        await self._now.adopt(message, envelope, entries, content, once=once)

    def free(self) -> int | None:
        """See ``Store.free``."""
        if self._open and self._first.unavailable() is None:
            return self._first.free()
        return self._second.free()

    def limits(self, route: str) -> RouteLimits:
        """See ``Store.limits``."""
        return self._now.limits(route)

    async def set_entrance(self, stage: Stage) -> None:
        """See ``Store.set_entrance``."""
        self._entrance = stage
        await self._second.set_entrance(stage)
        try:
            await self._now.set_entrance(stage)
        except StoreError as error:
            self._report(StoreTrouble(doing="noting whether filters come first", reason=str(error)))

    async def entrance(self) -> Stage:
        """See ``Store.entrance``."""
        try:
            return await self._now.entrance()
        except StoreError:
            return await self._second.entrance()

    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> Feed:
        """See ``Store.feed``; the mail of the second store comes when it has moved."""
        return self._now.feed(stage, hints=hints)

    async def claim(self, stage: Stage, message: QueueId, *, due_only: bool = True) -> Claim | None:
        """See ``Store.claim``."""
        return await self._now.claim(stage, message, due_only=due_only)

    async def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """See ``Store.listing``; it goes on without the first store: see ``missing``."""
        seen = set[QueueId]()
        async for listed in self._second.listing(stages):
            seen.add(listed.id)
            yield listed
        try:
            async for listed in self._now.listing(stages):
                if listed.id not in seen:
                    yield listed
        except StoreError as error:
            self.missing = str(error)

    async def counts(self) -> dict[Stage, StageCount]:
        """See ``Store.counts``; a message that is being handed over may count twice."""
        return added([await self._second.counts(), await self._now.counts()])

    async def describe(self, message: QueueId) -> tuple[Stage, Envelope, History] | None:
        """See ``Store.describe``."""
        found = await self._second.describe(message)
        return found if found is not None else await self._now.describe(message)

    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """See ``Store.wish``."""
        return await self._second.wish(message, wish) or await self._now.wish(message, wish)

    async def flush(self, message: QueueId) -> bool:
        """See ``Store.flush``."""
        return await self._second.flush(message) or await self._now.flush(message)

    async def failure(self, message: QueueId) -> FailedMessage | None:
        """See ``Store.failure``."""
        return await self._now.failure(message)

    def verification(self, *, contents: bool) -> Verification:
        """See ``Store.verification``."""
        return self._now.verification(contents=contents)


class _FallbackDraft(Draft):
    """See ``Draft``. ``second`` is where it can go while it is being received."""

    def __init__(self, draft: Draft, second: Store | None, envelope: Envelope) -> None:
        self.id = draft.id
        self._draft, self._second, self._envelope = draft, second, envelope
        self._copy = bytearray()
        self._only_stored = second is None
        """It is in the second store, where no service answers a client."""

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft.write``."""
        if self._second is not None:
            if len(self._copy) + len(chunk) > _LARGEST:
                self._second = None
                self._copy.clear()
            else:
                self._copy += chunk
        return self._draft.write(chunk)

    async def drain(self) -> None:
        """See ``Draft.drain``."""
        try:
            await self._draft.drain()
        except RelayError as error:
            await self._change_over(error)

    async def _change_over(self, error: RelayError) -> None:
        """Go on in the second store; raise the first one's error if that is not possible."""
        second, self._second = self._second, None
        if second is None:
            raise error
        await self._draft.discard()
        self._draft = second.draft(self._envelope, self.id)
        self._only_stored = True
        if not self._draft.write(self._copy):
            await self._draft.drain()
        self._copy.clear()

    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """See ``Draft.commit``."""
        stored = ack is Ack.STORED or (ack is Ack.FILTERED and stage is Stage.READY)
        if not self._only_stored:
            try:
                await self._draft.commit(stage, ack, session, dsn)
            except RelayError as error:
                if not stored:
                    raise
                await self._change_over(error)
            else:
                return
        if not stored:
            raise StoreError("commit a message", "its client waits for an answer of another host")
        await self._draft.commit(stage, Ack.STORED, "", dsn)

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """See ``Draft.answer``."""
        return await self._draft.answer(within, gone)

    async def discard(self) -> None:
        """See ``Draft.discard``."""
        await self._draft.discard()
