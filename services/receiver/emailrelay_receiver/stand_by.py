"""Accepts the clients that other workers leave waiting, for a worker that stands by."""

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine, Mapping

_PAUSE, _LOOKS = 0.002, 5
"""Seconds between two looks, and the looks that must find a client who waits: the others are busy,
or hang."""
_MOST = 4
"""Clients that are accepted at one look."""
_AFTER_NONE = 0.01
"""Seconds without a look after one that found no client: the others keep up."""
_REST = 1.0
"""Seconds of a pause after an error: there may be no descriptors left."""


class StandBy:
    """The listening sockets of a worker that stands by, inside a running loop."""

    def __init__(
        self,
        sockets: Mapping[socket.socket, str],
        *,
        leaves_clients: Callable[[], bool],
        serve: Callable[[str, socket.socket], Coroutine[None, None, None]],
        trouble: Callable[[OSError], None],
    ) -> None:
        """Own ``sockets``, with their paths. ``serve`` begins a session: path, client's socket."""
        self._sockets = sockets
        self._leaves_clients, self._serve, self._trouble = leaves_clients, serve, trouble
        self._loop = asyncio.get_running_loop()
        self._waiting = select.poll()
        for each in sockets:
            each.settimeout(0)
            self._waiting.register(each, select.POLLIN)
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self._begun: set[asyncio.Task[None]] = set()

    def watch(self) -> None:
        """Wait for a client."""
        self._timer = None
        for each in self._sockets:
            self._loop.add_reader(each, self._came)

    def _came(self) -> None:
        if self._timer is not None:  # by another socket, in the same turn
            return
        if self._leaves_clients():
            # Not watched meanwhile: each client would wake this worker, too.
            self._unwatch()
            self._looks = 0
            self._later()
        else:
            self._accept()

    def _later(self, seconds: float = _PAUSE) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._looks += 1
        if not self._waiting.poll(0):
            self._timer = self._loop.call_later(_AFTER_NONE, self.watch)
        elif self._looks < _LOOKS and self._leaves_clients():
            self._later()
        else:
            self.watch()
            self._accept()

    def _accept(self) -> None:
        for listening, path in self._sockets.items():
            for _ in range(_MOST):
                try:
                    client, _address = listening.accept()
                except BlockingIOError:  # another worker was quicker
                    break
                except ConnectionError:  # the client has gone
                    continue
                except OSError as error:
                    self._trouble(error)
                    self._unwatch()
                    self._later(_REST)
                    return
                task = self._loop.create_task(self._begin(path, client))
                self._begun.add(task)
                task.add_done_callback(self._begun.discard)

    async def _begin(self, path: str, client: socket.socket) -> None:
        try:
            await self._serve(path, client)
        except OSError:  # the client has gone
            client.close()

    def _unwatch(self) -> None:
        for each in self._sockets:
            self._loop.remove_reader(each)

    async def close(self) -> None:
        """Accept no more; return when the sessions of all accepted clients have begun."""
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()
        for each in self._sockets:
            each.close()
        if self._begun:
            await asyncio.wait(self._begun)
