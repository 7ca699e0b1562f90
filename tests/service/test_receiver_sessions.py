"""A session ends well if clients leave, stores fail, or limits are reached."""

import asyncio
import errno

import pytest
from pydantic import ValidationError
from tests.service.receiving import Running, receiving, send_mail, settings
from tests.service.slow_store import Slow, slow

from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.events.receiving import Received, SessionTrouble
from emailrelay.events.service import Traceback
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.store.draft import Draft
from emailrelay.store.memory.store import MemoryStore
from emailrelay_receiver.connection.wire import ClientWire


class Failing(MemoryStore):
    """A store whose drafts fail where the test says."""

    at = "write"
    error: Exception = StoreError("writing /secret/path", OSError(errno.ENOSPC, "full"))

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        if self.at == "draft":
            raise self.error
        draft = super().draft(envelope, message)

        def fail_now(_chunk: object) -> bool:
            raise self.error

        def not_more(_chunk: object) -> bool:
            return False

        async def fail(*_: object) -> None:
            raise self.error

        if self.at == "write":
            setattr(draft, "write", fail_now)  # noqa: B010 - a method, as seen by the type checkers
        elif self.at != "nowhere":
            setattr(draft, self.at, fail)
        if self.at == "drain":
            setattr(draft, "write", not_more)  # noqa: B010 - as above
        return draft


@pytest.mark.parametrize("at", ["draft", "write", "drain", "commit"])
@pytest.mark.parametrize(
    ("cause", "reply"), [(errno.ENOSPC, "452 4.3.1 "), (errno.EIO, "451 4.3.0 ")]
)
async def test_a_full_disk_is_a_temporary_answer_and_the_session_goes_on(
    at: str, cause: int, reply: str
) -> None:
    class Full(Failing):
        pass

    Full.at, Full.error = at, StoreError("writing /secret/path", OSError(cause, "full"))
    async with receiving(store=Full) as running, running.client() as peer:
        answer = await send_mail(peer, b"x" * 300_000 + b"\r\n")
        assert answer.startswith(reply)
        assert "secret" not in answer
        trouble = await running.until(StoreTrouble)
        assert isinstance(trouble, StoreTrouble)
        assert "/secret/path" in trouble.reason
        Full.at = "nowhere"
        await peer.ask("MAIL FROM:<>")
        await peer.ask("RCPT TO:<r@y>")
        await peer.ask("DATA")
        assert (await peer.ask("text\r\n.")).startswith("250")
        assert len(running.mail()) == 1


async def test_an_error_of_ours_is_told_to_the_log_only() -> None:
    class Broken(Failing):
        at = "commit"
        error = ValueError("/secret/path")

    async with receiving(store=Broken) as running, running.client() as peer:
        answer = await send_mail(peer)
        assert answer.startswith("451 4.3.0 ")
        assert "secret" not in answer
        assert "ValueError" not in answer
        assert (await peer.ask("NOOP")).startswith("250")
        assert isinstance(await running.until(Traceback), Traceback)


async def test_an_error_in_the_middle_of_content_ends_the_session() -> None:
    class Broken(Failing):
        at = "write"
        error = ValueError("x")

    async with receiving(store=Broken) as running, running.client() as peer:
        await peer.to_data()
        peer.send(b"x" * 300_000)
        assert (await peer.reply())[:3] in ("451", "")
        assert await peer.closed()
        assert running.mail() == []


@pytest.mark.parametrize("way", ["reset", "close", "half-close"])
async def test_a_client_that_leaves_during_the_commit_does_not_stop_it(way: str) -> None:
    async with receiving(store=Slow) as running, running.client() as peer:
        await peer.to_data()
        peer.send(b"text\r\n.\r\n")
        await slow(running).begun.wait()
        match way:
            case "reset":
                peer.reset()
            case "close":
                peer.writer.close()
            case _:
                peer.writer.write_eof()
        slow(running).go.set()
        await running.until(Received)
        if way == "half-close":
            assert (await peer.reply()).startswith("250 ")
        await running.empty()
        assert len(running.mail()) == 1


async def test_a_client_that_leaves_in_the_middle_of_content_leaves_nothing() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.to_data()
        peer.send(b"x" * 300_000)
        peer.reset()
        await running.until(SessionTrouble)
        await running.empty()
        assert running.mail() == []


@pytest.mark.parametrize(("hops", "code"), [(100, "250"), (101, "554")])
async def test_a_loop_is_noticed(hops: int, code: str) -> None:
    async with receiving() as running, running.client() as peer:
        assert (await send_mail(peer, b"Received: x\r\n" * hops + b"\r\n"))[:3] == code
        assert len(running.mail()) == (code == "250")


async def test_of_very_many_recipients_the_first_thousand_get_the_message() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        await peer.ask("EHLO c")
        await peer.ask("MAIL FROM:<>")
        peer.send(b"".join(b"RCPT TO:<r%d@y>\r\n" % number for number in range(1500)))
        codes = [(await peer.reply())[:3] for _ in range(1500)]
        assert codes == ["250"] * 1000 + ["452"] * 500
        assert (await peer.ask("DATA")).startswith("354 ")
        assert (await peer.ask("text\r\n.")).startswith("250 ")
        assert running.mail()[0][1].recipients == tuple(f"r{number}@y" for number in range(1000))


@pytest.mark.parametrize("verb", ["EHLO c", "HELP"])
async def test_a_reply_is_one_write(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some clients take the result of the first read for the whole reply.
    written: list[bytes] = []
    write = ClientWire.write

    def noted(self: ClientWire, octets: bytes) -> None:
        written.append(octets)
        write(self, octets)

    async with receiving() as running, running.client() as peer:
        await peer.reply()
        monkeypatch.setattr(ClientWire, "write", noted)
        answer = await peer.ask(verb)
        assert written == [answer.replace("\n", "\r\n").encode() + b"\r\n"]


def nobody_is_local(_client: str) -> bool:
    return False


async def test_a_remote_client_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test has loopback addresses only, so one of them is made to count as remote.
    monkeypatch.setattr("emailrelay_receiver.session.arrival.is_local", nobody_is_local)
    async with receiving() as running, running.client() as peer:
        assert (await peer.reply()).startswith("554 5.7.1 ")
        assert await peer.closed()
    async with receiving(settings(remote_clients=True)) as running, running.client() as peer:
        assert (await peer.reply()).startswith("220 ")


async def test_only_devices_in_the_networks_named_may_omit_the_brackets() -> None:
    for networks, expected in (("127.0.0.0/8", "250"), ("192.0.2.0/24,::1", "501")):
        async with receiving(settings(lenient=networks)) as running, running.client() as peer:
            await peer.reply()
            await peer.ask("EHLO c")
            assert (await peer.ask("MAIL FROM: raid@x.test SIZE=9")).startswith(expected)
            await peer.ask("MAIL FROM:<raid@x.test>")
            assert (await peer.ask("RCPT TO: r@y.test")).startswith(expected)
            if expected == "250":
                assert (await peer.ask("BDAT 0 LAST")).startswith("250")
                ((_, envelope, _),) = running.mail()
                assert (envelope.sender, envelope.to_remote) == ("raid@x.test", ("r@y.test",))


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ValidationError, match=r"192\.168\.0: must be IP addresses or networks"):
        settings(lenient="127.0.0.1,192.168.0")


async def test_many_sessions_and_messages_do_not_disturb_each_other() -> None:
    async def one(running: Running, number: int) -> None:
        async with running.client() as peer:
            text = b"%d\r\n" % number * 1000
            assert (await send_mail(peer, text)).startswith("250")
            for _ in range(20):
                await peer.ask("MAIL FROM:<>")
                await peer.ask("RCPT TO:<r@y>")
                await peer.ask("DATA")
                peer.send(text + b".\r\n")
                assert (await peer.reply()).startswith("250")

    async with receiving() as running:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(one(running, number))
        texts = sorted(
            content.partition(b"\r\n\t")[2].split(b"\r\n")[-2] for *_, content in running.mail()
        )
    assert texts == sorted([b"%d" % number for number in range(10)] * 21)
