"""The events of real sessions and deliveries name the mail that they are about."""

from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarding import Office
from tests.service.receiving import receiving, send_mail, settings

from emailrelay.events.delivery import Deferred, Delivered, Failed, RecipientsRefused
from emailrelay.events.receiving import Received, Rejected


async def test_received_names_the_message() -> None:
    async with receiving() as relay, relay.client() as peer:
        await send_mail(peer, b"Message-ID: <1@x.test>\r\n\r\n")
        event = await relay.until(Received)
    assert isinstance(event, Received)
    assert (event.sender, event.recipients, event.to) == ("s@x", 1, ("r@y",))
    assert (event.message_id, event.user) == ("<1@x.test>", "")


async def rejections(*commands: str, content: bytes = b"") -> list[Rejected]:
    async with receiving(settings(size=2000)) as relay, relay.client() as peer:
        await peer.reply()
        for command in commands:
            await peer.ask(command)
        if content:
            peer.send(content + b"\r\n.\r\n")
            await peer.reply()
        await peer.ask("QUIT")
        return [event for event in relay.events if isinstance(event, Rejected)]


async def test_refused_sender_and_recipient_are_named_as_the_client_gave_them() -> None:
    sender, recipient, unknown = await rejections(
        "EHLO c",
        "MAIL FROM:<ann b@x.test>",
        "MAIL FROM:<ann@x.test>",
        "RCPT TO:<bob@y.test>",
        "RCPT TO:<b b@y.test>",
        "NONSENSE",
    )
    assert (sender.sender, sender.recipients, sender.to) == ("ann b@x.test", 0, ())
    assert (recipient.sender, recipient.recipients) == ("ann@x.test", 1)
    assert recipient.to == ("b b@y.test",)
    assert (unknown.sender, unknown.to) == ("ann@x.test", ("bob@y.test",))


async def test_refused_content_is_named_by_its_transaction() -> None:
    content = b"Message-ID: <1@x.test>\r\n\r\n" + b"x" * 3000
    (refused,) = await rejections(
        "EHLO c", "MAIL FROM:<ann@x.test>", "RCPT TO:<bob@y.test>", "DATA", content=content
    )
    assert refused.reply.startswith("552 ")
    assert (refused.sender, refused.to, refused.recipients) == ("ann@x.test", ("bob@y.test",), 1)


async def test_refusal_without_a_transaction_names_no_mail() -> None:
    (refused,) = await rejections("EHLO c", "DATA")
    assert list(refused.shown()) == ["command", "reply", "port", "client"]


async def test_each_recipient_is_named_where_its_delivery_ends() -> None:
    replies = ["250 2.1.5 ok", "550 5.1.1 no such user", "451 4.2.0 later"]
    async with SmtpPeer({"RCPT": replies}) as peer:
        office = Office(peer.address)
        message = await office.put("a@y.test", "b@y.test", "c@y.test")
        await office.forward(message)
        await office.forwarding.close()
    (delivered,) = office.events(Delivered)
    (refused,) = office.events(RecipientsRefused)
    (deferred,) = office.events(Deferred)
    assert (delivered.sender, delivered.to) == ("from@us.test", ("a@y.test",))
    assert (refused.to, refused.reply) == (("b@y.test",), "550 5.1.1 no such user")
    assert (deferred.to, deferred.recipients) == (("c@y.test",), 1)
    assert office.events(Failed) == []
