"""The receiver puts the addresses of people in place of names of this host."""

import pytest
from tests.service.receiving import Peer, receiving, settings

from emailrelay.dsn_request import Notify

ANN, BOB = "ann@x.test", "bob@y.test"
TABLE = {"root": [ANN, BOB], "web": "root", "*": BOB}


async def send(peer: Peer, *recipients: str) -> list[str]:
    """Send a message; return the replies to its recipients."""
    await peer.reply()
    for command in ("EHLO c", "MAIL FROM:<s@x>"):
        assert (await peer.ask(command)).startswith("250")
    replies = [await peer.ask(f"RCPT TO:{recipient}") for recipient in recipients]
    assert (await peer.ask("DATA")).startswith("354")
    assert (await peer.ask("Subject: x\r\n\r\nx\r\n.")).startswith("250")
    return replies


@pytest.mark.parametrize("name", ["root", "root@localhost", "ROOT@relay.test", "web"])
async def test_mail_for_a_name_goes_to_its_people(name: str) -> None:
    async with receiving(settings(aliases=TABLE)) as running, running.client() as peer:
        assert await send(peer, f"<{name}>") == ["250 2.1.5 Ok"]
        (kept,) = running.store.mail.kept.values()
        assert kept.envelope.to_remote == (ANN, BOB)
        assert kept.history.dsn.of(kept.envelope.to_remote[0]).original == f"rfc822;{name}"


async def test_clients_request_and_original_address_stay() -> None:
    async with receiving(settings(aliases=TABLE)) as running, running.client() as peer:
        await send(peer, "<root> NOTIFY=NEVER ORCPT=rfc822;boss@x.test")
        (kept,) = running.store.mail.kept.values()
        request = kept.history.dsn.of(kept.envelope.to_remote[1])
        assert request == ((Notify.NEVER,), "rfc822;boss@x.test")


async def test_other_addresses_stay_and_people_get_one_copy() -> None:
    async with receiving(settings(aliases=TABLE)) as running, running.client() as peer:
        replies = await send(peer, f"<{BOB}>", "<root>", "<carl@z.test>", "<backup@localhost>")
        assert {reply[:3] for reply in replies} == {"250"}
        ((_, envelope, _),) = running.mail()
        assert envelope.recipients == (BOB, ANN, "carl@z.test")


async def test_number_of_recipients_is_bounded_after_aliases() -> None:
    async with (
        receiving(settings(aliases=TABLE, recipients=2)) as running,
        running.client() as peer,
    ):
        assert [r[:3] for r in await send(peer, "<carl@z.test>", "<root>")] == ["250", "452"]
        ((_, envelope, _),) = running.mail()
        assert envelope.recipients == ("carl@z.test",)


async def test_reload_changes_aliases() -> None:
    async with receiving(settings()) as running:
        running.follow(settings(aliases=TABLE))
        async with running.client() as peer:
            await send(peer, "<root@relay.test>")
        ((_, envelope, _),) = running.mail()
        assert envelope.recipients == (ANN, BOB)
