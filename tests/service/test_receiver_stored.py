"""The envelope and the content that the receiver stores are those that the client sent."""

import pytest
from tests.service.receiving import receiving, send_mail, settings

from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.stage import Stage


async def test_what_was_said_and_sent_is_what_is_stored() -> None:
    async with receiving(settings(filter="/bin/true")) as running, running.client() as peer:
        await peer.reply()
        await peer.ask("EHLO client.test")
        await peer.ask('MAIL FROM:<@route:"a b"@X.test> BODY=8BITMIME SMTPUTF8')
        await peer.ask("RCPT TO:<ü@Y.test>")
        await peer.ask("DATA")
        peer.send(b"\xff\r\n..\r\n.\r\n")
        assert (await peer.reply()).startswith("250 2.0.0 Ok: queued as ")
        ((stage, envelope, content),) = running.mail()
    assert stage is Stage.UNFILTERED
    assert envelope == Envelope(
        sender=Address('"a b"@X.test'),
        to_remote=(Address("ü@Y.test"),),
        body=Body.EIGHT_BIT,
        client="127.0.0.1",
        utf8=True,
        arrival=ArrivalFacts(helo="client.test"),
    )
    received, _, rest = content.partition(b"\r\n\t")
    assert received == b"Received: from client.test ([127.0.0.1])"
    assert rest.startswith(b"by relay.test with UTF8SMTP id ")
    assert rest.endswith(b"\r\n\xff\r\n.\r\n")


async def test_message_id_goes_into_the_envelope() -> None:
    header = b"Subject: x\r\nMessage-ID:\r\n <1@x.test>\r\n"
    long_line = b"X: " + b"x" * 900 + b"\r\n"
    async with receiving() as running:
        for content in (
            header,
            header + b"\r\n" + b"x\r\n" * 100_000,
            long_line * 50 + header,
            long_line * 100 + header,  # beyond the first 64 KiB
            b"\r\n" + header,
        ):
            async with running.client() as peer:
                assert (await send_mail(peer, content)).startswith("250 ")
        found = [envelope.message_id for _, envelope, _ in running.mail()]
    assert found == ["<1@x.test>"] * 3 + ["", ""]


async def test_anonymous_content_has_no_received_line_and_no_client() -> None:
    async with (
        receiving(settings(anonymous=["content", "client"])) as running,
        running.client() as peer,
    ):
        await send_mail(peer, b"text\r\n")
        ((_, envelope, content),) = running.mail()
    assert (envelope.client, content) == ("", b"text\r\n")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"Subject: s\r\n\r\n" + b"x" * 100_000 + b"\r\n", id="a long line"),
        pytest.param(b"X: y\r\n" * 10_000 + b"\r\ntext\r\n", id="many header fields"),
        pytest.param(b"X: y\r\n" + b"\tz\r\n" * 14_000 + b"\r\n", id="a long header field"),
        pytest.param(b"\xff\x01 no header\r\n", id="no header"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_odd_content_is_kept_as_it_is(content: bytes) -> None:
    async with receiving() as running, running.client() as peer:
        assert (await send_mail(peer, content)).startswith("250 ")
        ((_, _, kept),) = running.mail()
    received, stamp, rest = kept.partition(b" +0000\r\n")
    assert received.startswith(b"Received: from c ")
    assert stamp
    # A content without a header is the body behind ours.
    assert rest == (b"\r\n" if b"no header" in content else b"") + content


@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
@pytest.mark.parametrize("content", [b" folded\r\nSubject: s\r\n\r\nx\r\n", b"\tx: y\r\n"])
async def test_content_that_begins_with_a_blank_stays_apart_from_our_line(
    verb: str, content: bytes
) -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        for command in ("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<r@y>"):
            await peer.ask(command)
        if verb == "DATA":
            await peer.ask("DATA")
            peer.send(content + b".\r\n")
        else:
            # The first octets arrive alone.
            peer.send(b"BDAT 1\r\n" + content[:1])
            assert (await peer.reply()).startswith("250")
            peer.send(b"BDAT %d LAST\r\n" % (len(content) - 1) + content[1:])
        assert (await peer.reply()).startswith("250")
        ((_, _, kept),) = running.mail()
    ours, empty, theirs = kept.partition(b"\r\n\r\n")
    assert (empty, theirs) == (b"\r\n\r\n", content)
    assert ours.startswith(b"Received: ")
