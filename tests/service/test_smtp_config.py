"""The SMTP extensions that are offered and used, by the administrator's settings."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.fakes import smtp_peer
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarding import Office
from tests.service.receiving import HANG, receiving

from emailrelay.config import ForwarderSettings, ReceiverSettings, read
from emailrelay.oauth.bearer import Bearer
from emailrelay.store.spool.tokens import SpoolTokens
from emailrelay_forwarder.settings.policy_settings import sessions_of

ALL = {
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "CHUNKING",
    "HELP",
}


async def offered(words: Sequence[str]) -> set[str]:
    settings = ReceiverSettings(domain="relay.test", server_smtp_config=list(words))
    async with receiving(settings) as running, running.client() as peer, asyncio.timeout(HANG):
        await peer.reader.readline()
        peer.send(b"EHLO client.test\r\n")
        lines = [await peer.reader.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(await peer.reader.readline())
    return {line[4:].split()[0].decode() for line in lines[1:]}


async def test_a_server_offers_what_it_is_not_told_to_leave_out() -> None:
    assert await offered([]) == ALL
    assert await offered(["-chunking", "-PIPELINING", "+dsn", "smtputf8"]) == ALL - {
        "CHUNKING",
        "PIPELINING",
    }


@pytest.mark.parametrize(("words", "waits_at"), [("", "DATA"), ("-pipelining", "MAIL")])
async def test_a_client_leaves_out_what_it_is_told_to(
    words: str, waits_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(smtp_peer.GOOD, "EHLO", "250-peer.test\r\n250-SIZE 0\r\n250 PIPELINING")
    flags = ["--forward-to=127.0.0.1:25", f"--client-smtp-config={words}"]
    settings = read(ForwarderSettings, flags, {})
    sessions = sessions_of(
        settings,
        lambda _event: None,
        Bearer((), SpoolTokens("/nowhere"), report=lambda _event: None),
    )
    async with SmtpPeer({"MAIL": smtp_peer.Say(b"")}) as peer:
        sending = asyncio.create_task(Office(peer.address, settings=sessions).send())
        await peer.until(command=waits_at)
        said = peer.lines("RCPT")
        sending.cancel()
        await asyncio.wait((sending,))
    assert bool(said) is (waits_at == "DATA")
