"""Sends the notices for the failed messages of a store, each once."""

from dataclasses import dataclass, field

from emailrelay import spool_owner
from emailrelay.bounces import notice
from emailrelay.bounces.failures import failures
from emailrelay.envelope import NULL_SENDER, Envelope
from emailrelay.errors import StoreError
from emailrelay.notify.agents import Agent, NotDelivered
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.failure import FailedMessage, PreparedNotice


@dataclass(slots=True)
class NoticeCount:
    """The results of one run."""

    told: list[QueueId] = field(default_factory=list[QueueId])
    double: list[QueueId] = field(default_factory=list[QueueId])
    """Failed messages of the null sender, such as notices; they cause no further notice."""
    silent: list[QueueId] = field(default_factory=list[QueueId])
    """No notice possible or needed: an unreadable envelope, or every recipient has the message."""
    trouble: dict[QueueId, str] = field(default_factory=dict[QueueId, str])


@dataclass(slots=True, kw_only=True)
class Notifier:
    """Tells senders through ``agent``, or through the store itself if there is none."""

    store: Store
    host: str
    agent: Agent | None
    count: NoticeCount = field(default_factory=NoticeCount)

    async def run(self) -> NoticeCount:
        """Look at every failed message once."""
        failed = [entry.id async for entry in self.store.listing((Stage.FAILED,))]
        for message in sorted(failed):
            try:
                failure = await self.store.failure(message)
                if failure is not None:  # else gone, or another notifier is at it
                    async with failure:
                        await self._tell(failure)
            except (StoreError, NotDelivered) as error:
                self.count.trouble[message] = str(error)
        return self.count

    async def _tell(self, failure: FailedMessage) -> None:
        envelope = failure.envelope
        if failure.history.notified:
            prepared = await failure.prepared()
            if prepared is not None and envelope is not None:
                await self._send(failure, envelope, prepared)
        elif envelope is None:
            await failure.record()
            self.count.silent.append(failure.id)
        elif envelope.sender == NULL_SENDER:
            await failure.record()
            self.count.double.append(failure.id)
        else:
            await self._tell_sender(failure, envelope)

    async def _tell_sender(self, failure: FailedMessage, envelope: Envelope) -> None:
        failed = failures(envelope, failure.history)
        if not failed:
            await failure.record(told=True)
            self.count.silent.append(failure.id)
            return
        if self.agent is not None:
            self.agent.check(envelope.sender)
        prepared = await notice.prepare(
            failure, (envelope.sender,), failed, host=self.host, local=self.agent is not None
        )
        await self._send(failure, envelope, prepared)

    async def _send(
        self, failure: FailedMessage, envelope: Envelope, prepared: PreparedNotice
    ) -> None:
        """Send a recorded notice; if that fails the store keeps it for the next run."""
        if self.agent is None:
            await failure.relay()
        else:
            with spool_owner.as_root():  # delivery to other users needs root's rights
                self.agent.deliver(prepared.id, envelope.sender, prepared.text)
            await failure.delivered()
        self.count.told.append(failure.id)
