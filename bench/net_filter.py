"""A persistent filter that accepts everything: ``python -m bench.net_filter PORT``."""

import asyncio
import sys


async def _accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readline():
        writer.write(b"ok\n")
    writer.close()


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(_accept, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
