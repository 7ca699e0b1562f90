"""Users with passwords, and the first words of a session."""

import base64
from pathlib import Path

from tests.service.receiving import Peer

from emailrelay.config import ReceiverSettings

PASSWORD = "open sesame"  # noqa: S105 - of nobody


def settings(secrets: Path, **values: object) -> ReceiverSettings:
    given = {"domain": "relay.test", "server_auth": str(secrets), **values}
    return ReceiverSettings.model_validate(given)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plain(user: str, password: str, identity: str = "") -> str:
    return b64(f"{identity}\0{user}\0{password}")


async def greeted(peer: Peer) -> str:
    await peer.reply()
    return await peer.ask("EHLO c")
