"""A proxy before a database, in its own thread: it loses, refuses and counts connections."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from tests.contract.database_proxy import DatabaseProxy

_PATIENCE = 60.0


class FarDatabase:
    """The way to a server's socket, for services that are processes."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._over = asyncio.Event()
        self._made: Future[asyncio.AbstractEventLoop] = Future()
        self.proxy: DatabaseProxy

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop = self._made.result(_PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._over.set)
        self._thread.join(_PATIENCE)

    async def _serve(self) -> None:
        async with DatabaseProxy.before(self._server) as self.proxy:
            self._made.set_result(asyncio.get_running_loop())
            await self._over.wait()
            proxy = self.proxy
            proxy.cut()
            while proxy.serving:  # noqa: ASYNC110 -- seen by asking
                await asyncio.sleep(0.01)

    def do(self, act: Callable[[], object]) -> None:
        """Do something in the proxy's thread."""
        self._loop.call_soon_threadsafe(act)

    @property
    def directory(self) -> Path:
        """The directory of the socket."""
        return self.proxy.directory

    def refuse(self) -> None:
        """Break all connections and let no new one through."""
        self.proxy.refuses = True
        self.do(self.proxy.cut)

    def fall_silent(self) -> None:
        """Pass nothing on, as a network does that drops packets."""
        self.proxy.silent = True

    def restore(self) -> None:
        """Let all through again; connections whose octets were lost break."""
        self.proxy.refuses = self.proxy.silent = False
        self.do(self.proxy.cut)
