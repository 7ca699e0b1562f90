"""A forwarder's parts around a memory store, for tests against a scripted peer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tests.fakes.secure_peer import SecurePeer

from emailrelay.envelope import Address, Body, Envelope
from emailrelay.events.event import Event
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.routes import Routes, only
from emailrelay.schedule import Schedule
from emailrelay.settlement import Defer, Settlement
from emailrelay.stage import Stage
from emailrelay.store.claim import Claim
from emailrelay.store.memory.mail import MemoryMail
from emailrelay.store.memory.store import MemoryStore
from emailrelay_forwarder.delivery.client_filter import ClientFilters
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.server.waiting_mail import OnRecovery, Recall
from emailrelay_forwarder.session.greeting_timeout import GreetingTimeout
from emailrelay_forwarder.session.opening import open_session
from emailrelay_forwarder.session.session_settings import SessionSettings

E = TypeVar("E", bound=Event)
CONTENT = b"Subject: test\r\n\r\n.hello\r\n"
PATIENT = SessionSettings(
    connect=5, greeting=GreetingTimeout(5, 5), reply=5, verdict=5, domain="us.test"
)
HASTY = SessionSettings(
    connect=0.3, greeting=GreetingTimeout(0.3, 0.3), reply=0.3, verdict=0.3, domain="us.test"
)


@dataclass(slots=True)
class Office:
    """A memory store and a forwarder from it to ``address``; ``told`` has the events in order."""

    address: str
    settings: SessionSettings = PATIENT
    most: int = 20
    places: int = 20
    now: float = 1_000_000.0
    clock: Callable[[], float] | None = None
    """In place of ``now``."""
    schedule: Schedule = field(default_factory=Schedule)
    told: list[Event] = field(default_factory=list[Event])
    on_recovery: OnRecovery | None = None
    filters: ClientFilters | None = None
    partly: bool = False
    no_retry: bool = False
    routes: Routes | None = None
    """In place of the one to ``address``."""
    mail: MemoryMail = field(default_factory=MemoryMail)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    store: MemoryStore = field(init=False)
    forwarding: Forwarding = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(report=self._report, clock=self._clock, mail=self.mail)
        self.forwarding = Forwarding(self.rules(), self._recovered)

    def rules(self) -> Rules:
        return Rules(
            routes=self.routes or only(self.address, self.schedule),
            most=self.most,
            places=self.places,
            schedule=self.schedule,
            open_session=partial(open_session, settings=self.settings),
            limits=self.store.limits,
            policy=self.settings.policy,
            report=self._report,
            clock=self._clock,
            filters=self.filters,
            partly=self.partly,
            no_retry=self.no_retry,
        )

    async def put(
        self,
        *recipients: str,
        content: bytes = CONTENT,
        sender: str = "from@us.test",
        forward_to_address: str = "",
        account_selector: str = "",
        body: Body = Body.UNKNOWN,
        utf8: bool = False,
        local: Sequence[str] = (),
        stage: Stage = Stage.READY,
    ) -> QueueId:
        envelope = Envelope(
            sender=Address(sender),
            to_local=tuple(Address(r) for r in local),
            to_remote=tuple(
                Address(r) for r in recipients or (() if local else ("to@there.test",))
            ),
            forward_to_address=forward_to_address,
            account_selector=account_selector,
            body=body,
            utf8=utf8,
        )
        async with self.store.draft(envelope) as draft:
            draft.write(content)
            await draft.commit(stage)
        return draft.id

    async def claim(self, message: QueueId) -> Claim:
        claim = await self.store.claim(Stage.READY, message, due_only=False)
        assert claim is not None
        return claim

    async def forward(self, message: QueueId) -> Settlement:
        async with await self.claim(message) as claim:
            return await self.forwarding.forward(claim, self.progress())

    @staticmethod
    def progress() -> Progress:
        return Progress()

    async def send(self, *recipients: str) -> Settlement:
        return await self.forward(await self.put(*recipients))

    async def history(self, message: QueueId) -> History | None:
        """Give the history of a message; None: it is delivered and gone."""
        found = await self.store.describe(message)
        return found[2] if found else None

    def events(self, kind: type[E]) -> Sequence[E]:
        return [event for event in self.told if isinstance(event, kind)]

    async def until(self, kind: type[Event], *, times: int = 1) -> None:
        """Wait until this kind of event has been reported so many times."""
        async with asyncio.timeout(60):
            while len(self.events(kind)) < times:
                self._news.clear()
                await self._news.wait()

    def _clock(self) -> float:
        return self.now if self.clock is None else self.clock()

    def _recovered(self, recall: Recall) -> None:
        if self.on_recovery is not None:
            self.on_recovery(recall)

    def _report(self, event: Event) -> None:
        self.told.append(event)
        self._news.set()


async def sent(peer: SecurePeer, settings: SessionSettings) -> tuple[Settlement, Office]:
    office = Office(peer.address, settings)
    settlement = await office.send()
    await office.forwarding.close()
    return settlement, office


def why(settlement: Settlement) -> str:
    assert isinstance(settlement, Defer)
    return str(settlement.attempt.trouble)
