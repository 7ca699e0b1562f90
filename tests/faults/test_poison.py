"""Messages that cannot be sent, among a thousand: each is set aside once with its reason, all others go."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.relay import Relay, until
from tests.acceptance.source import Mail
from tests.faults.checker import Client, in_the_end
from tests.faults.extent import extent
from tests.faults.states import State, look

from emailrelay.envelope import Address, Envelope
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

COUNT = extent(100, 1000)
ENVELOPE = Envelope(sender=Address("a@client.test"), to_remote=(Address("to@sink.test"),))


def cut(spool: Path, message: QueueId) -> None:
    content = spool / f"emailrelay.{message}.content"
    content.write_bytes(content.read_bytes()[:-10])


def garble(spool: Path, message: QueueId) -> None:
    (spool / f"emailrelay.{message}.envelope").write_bytes(b"\xff\0 no envelope")


def empty(spool: Path, message: QueueId) -> None:
    (spool / f"emailrelay.{message}.envelope").write_bytes(b"")


def unspeakable(spool: Path, message: QueueId) -> None:
    """Give it a recipient that cannot be named in a command."""
    path = spool / f"emailrelay.{message}.envelope"
    path.write_bytes(path.read_bytes().replace(b"to@sink.test", b"t\x0b@sink.test"))


async def put(store: Store, mail: Mail) -> QueueId:
    async with store.draft(ENVELOPE) as draft:
        draft.write(mail.content)
        await draft.commit(Stage.READY)
    return draft.id


async def fill(spool: Path) -> dict[str, QueueId]:
    # Even numbers: their contents end as they do on the wire.
    mails = [Mail(2 * number, size=500) for number in range(1, COUNT + 1)]
    async with open_store(spool, report=lambda _: None) as store:
        ids = await asyncio.gather(*(put(store, mail) for mail in mails))
    return {mail.id: id_ for mail, id_ in zip(mails, ids, strict=True)}


@pytest.mark.parametrize("poison", extent([garble, unspeakable], [cut, garble, empty, unspeakable]))
def test_a_poisoned_message_is_set_aside_and_all_others_go(
    poison: Callable[[Path, QueueId], None], relay: Relay
) -> None:
    put_in = asyncio.run(fill(relay.spool))
    poisoned = list(put_in)[COUNT // 3]
    poison(relay.spool, put_in[poisoned])
    sink = relay.sink().start()
    forwarder = relay.forwarder(sink.port).start()

    failed = {put_in[poisoned]: State.FAILED}
    until(lambda: look(relay.spool) == failed, "only the poisoned message is left")

    client = Client(accepted=put_in.keys() - {poisoned})
    wrong = in_the_end(relay.spool, client, sink.arrivals())
    assert {violation.invariant for violation in wrong} <= {"I2", "I6"}, "but for its two files"
    assert all(str(put_in[poisoned]) in violation.text for violation in wrong)
    assert forwarder.running
    told = forwarder.events("set_aside") + forwarder.events("failed")
    assert [happening["id"] for happening in told] == [put_in[poisoned]]
