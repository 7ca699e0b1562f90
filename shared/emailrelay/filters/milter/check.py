"""Checks whether a milter can be reached, and speaks a version of the protocol that we speak."""

import asyncio

from emailrelay.filters.milter.connection import opened
from emailrelay.filters.milter.packets import MilterError
from emailrelay.host_port import ServerAddress


async def trouble(place: ServerAddress, seconds: float) -> str:
    """Return what is wrong with a milter; empty: nothing."""
    try:
        async with asyncio.timeout(seconds):
            connection = await opened(place)
    except TimeoutError:
        return f"does not answer within {seconds:g} s; mail waits for it"
    except OSError as error:
        return f"cannot be reached ({error.strerror or error}); start it, or mail waits for it"
    except MilterError as error:
        return f"{error}; mail waits for it"
    connection.end()
    await asyncio.sleep(0)  # the last packet goes out
    return ""
