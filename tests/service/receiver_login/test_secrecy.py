"""Secrets of logins are told nowhere."""

from pathlib import Path

from tests.service.receiver_login.users import PASSWORD, b64, greeted, plain, settings
from tests.service.receiving import receiving

from emailrelay.events.sessions import Dialogue


async def test_the_dialogue_is_told_without_secrets(secrets: Path) -> None:
    async with receiving(settings(secrets, verbose=True)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        await peer.ask("AUTH PLAIN " + plain("alice", "wrong"))
        await peer.ask("AUTH LOGIN")
        await peer.ask(b64("alice"))
        await peer.ask(b64("wrong too"))
        await peer.ask("AUTH PLAIN " + plain("alice", PASSWORD))
        await peer.ask("MAIL FROM:<a@b>")
        text = repr(running.events)
        assert isinstance(await running.until(Dialogue), Dialogue)
    assert "MAIL FROM:<a@b>" in text
    assert "AUTH PLAIN ***" in text
    for secret in ("wrong", PASSWORD):
        for form in (secret, b64(secret), plain("alice", secret), secret.encode().hex()):
            assert form not in text


async def test_secrets_outside_an_exchange_are_not_told(secrets: Path) -> None:
    async with receiving(settings(secrets, verbose=True)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        # A client that does not wait, or does not understand a refusal, goes on with its lines.
        for line in (
            "AUTH LOGIN-X",
            b64("alice"),
            b64(PASSWORD),
            f"AUTH {plain('alice', PASSWORD)}",
            f"AUTH\t{b64(PASSWORD)}",
            plain("alice", PASSWORD),
            f"AUTHPLAIN {b64(PASSWORD)}",
            f"PASS {PASSWORD}",
            PASSWORD,
            f" {b64(PASSWORD)}",
        ):
            assert (await peer.ask(line)).startswith("5"), line
        await peer.ask("MAIL FROM:<a@b>")
        assert isinstance(await running.until(Dialogue), Dialogue)
        text = repr(running.events)
    assert "MAIL FROM:<a@b>" in text
    for form in (PASSWORD, b64("alice"), b64(PASSWORD), plain("alice", PASSWORD)):
        assert form not in text
        assert form[:8].upper() not in text.upper()
