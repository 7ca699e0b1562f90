"""A store whose new mail goes into a second one while the first is unavailable, and comes back.

The second store is a spool on this host that no other service works on. A message has one id in
both. When a commit to the first store has an unknown fate, the message goes into the second under
that id, and the move to the first does not bring it in twice.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Self

from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import IdTaken, RelayError, StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import HandedOver, StoreTrouble
from emailrelay.journal import AdministratorWish, Entry
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.base import Listed, Store
from emailrelay.store.claim import Claim
from emailrelay.store.draft import Draft
from emailrelay.store.failure import FailedMessage
from emailrelay.store.feed import Feed
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.history_of_several import HistoryOfSeveral
from emailrelay.store.limits import RouteLimits
from emailrelay.store.mail_history import HistoryBounds, MailHistory
from emailrelay.store.move import Mover
from emailrelay.store.verification import Verification

_COPY = 1024 * 1024
"""Octets of a message that are kept here; a larger one is written into both stores."""
_PAUSE = 1.0
"""Seconds between two looks for mail to hand over, and between two tries to open the store."""
_AFTER_TROUBLE = 5.0
"""Seconds until the next look if mail could not be handed over: a database may be unavailable."""


class FallbackStore(Store):
    """See ``Store``. ``first`` may be unavailable at any time, also when the block is entered.

    ``origin`` names ``second`` in ``first`` (``Mover``). With ``hands_over`` the mail of ``second``
    moves to ``first`` when that is there.
    """

    def __init__(
        self, first: Store, second: Store, *, origin: str, report: Report, hands_over: bool
    ) -> None:
        self._first, self._second = first, second
        self._origin, self._report, self._hands_over = origin, report, hands_over
        self._open, self._reason = False, ""
        self._told = True
        """The first store knows what was noted while it was away."""
        self.missing: str | None = None
        """The reason why a listing lacked the mail of the first store, if one did."""
        self._entrance: Stage | None = None
        self._bounds: HistoryBounds | None = None
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
        """Open the first store unless it is unavailable.

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

    async def __aexit__(self, *_: object) -> None:
        """See ``Store``."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        try:
            if self._open:
                await self._first.__aexit__(None, None, None)
        finally:
            await self._second.__aexit__(None, None, None)

    async def _hand_over_always(self) -> None:
        mover = Mover(
            source=self._second,
            target=self._first,
            origin=self._origin,
            clock=time.time,
            once=True,
        )
        finished = False
        while True:
            try:
                there = await self._there()
                if there:
                    finished = finished or await self._finish_earlier(mover)
                    if await self._waits():
                        await self._hand_over(mover)
                        finished = finished and not mover.left
            except Exception as error:  # noqa: BLE001 - mail would wait for the next start
                there = finished = False
                reason = str(error) if isinstance(error, RelayError) else repr(error)
                self._report(StoreTrouble(doing="hand mail over", reason=reason))
            await asyncio.sleep(_AFTER_TROUBLE if there and not finished else _PAUSE)

    async def _finish_earlier(self, mover: Mover) -> bool:
        """Return whether earlier tries are finished in all databases; the others go on without."""
        try:
            await mover.finish_earlier()
        except RelayError as error:
            self._report(StoreTrouble(doing="hand mail over", reason=str(error)))
            return False
        return True

    async def _there(self) -> bool:
        """Return whether the first store can be used; open it if it was unavailable until now."""
        with contextlib.suppress(StoreError):  # it was reported at the start
            if not self._open:
                await self._first.__aenter__()
                self._open, self._told = True, False
            if not self._told:
                await self._tell()
        return self._open and self._first.unavailable() is None

    async def _tell(self) -> None:
        if self._entrance is not None:
            await self._first.set_entrance(self._entrance)
        if self._bounds is not None:
            await self._first.history().keep(self._bounds)
        self._told = True

    async def _waits(self) -> bool:
        async for _ in self._second.listing():
            return True
        return False

    async def _hand_over(self, mover: Mover) -> None:
        before = mover.moved
        await mover.move()
        for message, reason in mover.left.items():
            self._report(StoreTrouble(doing=f"hand over {message}", reason=reason))
        if mover.moved > before:
            self._report(HandedOver(messages=mover.moved - before))

    @property
    def _now(self) -> Store:
        """The first store.

        Raises:
            StoreError: it is unavailable.

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
            self._told = False
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

    async def journal(self, message: QueueId) -> tuple[Stage, Envelope, list[Entry]] | None:
        """See ``Store.journal``."""
        found = await self._second.journal(message)
        return found if found is not None else await self._now.journal(message)

    def history(self) -> MailHistory:
        """See ``Store.history``. An unavailable first store's records are missing."""
        there = [self._first, self._second] if self._open else [self._second]
        away = None if self._open else StoreError("read the history of the database", self._reason)
        return HistoryOfSeveral(there, note=self._note_bounds, away=away)

    def _note_bounds(self, bounds: HistoryBounds) -> None:
        self._bounds = bounds

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
    """See ``Draft``. ``second`` is where it can go while it is being received.

    For that a copy is kept until the first store has it: here, or in a draft of ``second``.
    """

    def __init__(self, draft: Draft, second: Store | None, envelope: Envelope) -> None:
        self.id = draft.id
        self._draft, self._second, self._envelope = draft, second, envelope
        self._copy = bytearray()
        self._spare: Draft | None = None
        self._only_stored = second is None
        """It is in the second store, where no service answers a client."""

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft.write``."""
        room = self._second is None or self._keep(self._second, chunk)
        return self._draft.write(chunk) and room

    def _keep(self, second: Store, chunk: bytes | bytearray | memoryview) -> bool:
        """Add to the copy; return whether there is room for more at once."""
        if self._spare is None and len(self._copy) + len(chunk) <= _COPY:
            self._copy += chunk
            return True
        try:
            if self._spare is None:
                self._spare = second.draft(self._envelope, self.id)
                self._spare.write(self._copy)
                self._copy.clear()
            return self._spare.write(chunk)
        except StoreError:  # the first store may have room for it
            self._second = None
            return True

    async def drain(self) -> None:
        """See ``Draft.drain``."""
        if self._spare is not None and self._second is not None:
            try:
                await self._spare.drain()
            except StoreError:
                self._second = None
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
        self._only_stored = True
        if self._spare is not None:
            self._draft, self._spare = self._spare, None
            return
        self._draft = second.draft(self._envelope, self.id)
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
        stored = ack.at(stage) is Ack.STORED
        if self._only_stored and not stored:
            raise StoreError("commit a message", "its client waits for an answer of another host")
        if self._only_stored:
            await self._draft.commit(stage, Ack.STORED, "", dsn)
            return
        first = self._draft
        try:
            await first.commit(stage, ack, session, dsn)
        except IdTaken:  # in the second store it would count as the other one
            raise
        except RelayError as error:
            if not stored:
                raise
            try:
                await self._change_over(error)
                await self._draft.commit(stage, Ack.STORED, "", dsn)
            except RelayError:
                first.refused()
                raise
        else:
            await self._discard_spare()

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """See ``Draft.answer``."""
        return await self._draft.answer(within, gone)

    async def discard(self) -> None:
        """See ``Draft.discard``."""
        await self._discard_spare()
        await self._draft.discard()

    async def _discard_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            await spare.discard()
