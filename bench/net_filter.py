"""A persistent filter that accepts everything: ``python -m bench.net_filter PORT``.

It answers as cheaply as Python can: the case measures the relay, not the filter beside it.
"""

import asyncio
import sys


class _Accepting(asyncio.Protocol):
    """A connection whose lines are all answered with ``ok``."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream was expected")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._transport.write(b"ok\n" * data.count(b"\n"))


async def serve(port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Accepting, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
