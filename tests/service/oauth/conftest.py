"""A real OAuth2 server, and accounts that sign in there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.oauth_server import Client, OAuthServer
from tests.service.signing_in import SECRET, Desk


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    clients = {"app:1": Client(secret=SECRET), "public": Client()}
    async with OAuthServer(tmp_path, clients=clients) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        desk = Desk(tmp_path, server)
        server.clock = lambda: desk.now.wall
        yield desk
