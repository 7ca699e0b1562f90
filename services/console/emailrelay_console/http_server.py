"""Runs the application in uvicorn, on sockets that listen already."""

import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence

import uvicorn
from starlette.types import ASGIApp

from emailrelay.service import Signals
from emailrelay_console.connection_bounds import MOST, BoundedConnection

_SLACK = 50
"""Connections that end, and still count; further ones get 503."""
_IDLE = 30
"""Seconds without a request after which a connection is closed."""
_LARGEST_HEAD = 16 * 1024
"""The most octets of a request without its body."""
_GRACE = 1
"""Seconds that answers may take after the stop."""


class _Server(uvicorn.Server):
    """A server that stops at our signals, and does nothing while no request comes."""

    def __init__(
        self, config: uvicorn.Config, signals: Signals, at_stop: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._signals, self._at_stop = signals, at_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._signals.ready()

    async def main_loop(self) -> None:
        # The one of uvicorn wakes up ten times a second.
        await self.on_tick(0)
        await self._signals.stop.wait()
        await self._at_stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # ``Signals`` has the handlers.
        yield


async def serve(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    signals: Signals,
    at_stop: Callable[[], Awaitable[None]],
) -> None:
    """Serve until the process is told to stop; ``at_stop`` ends answers that have no end."""
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=MOST + _SLACK,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
    )
    await _Server(config, signals, at_stop).serve([opened.dup() for opened in sockets])
