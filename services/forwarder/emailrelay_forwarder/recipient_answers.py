"""Answers receivers at a socket beside the store."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol, TypeAlias

from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay_forwarder.delivery.recipient_check import RecipientCheck
from emailrelay_forwarder.delivery.recipient_question import RecipientQuestion

_LOOK = 5.0
"""Seconds between two checks whether the socket still has its name."""
_MOST_CONNECTIONS = 1000
_LONGEST = 4096
"""Octets of a question."""
_IDLE = 120.0
"""Seconds without a question after which a connection is closed: receivers close it before."""


class NamedSocket(Protocol):
    """A socket of this process that listens."""

    @property
    def opened(self) -> socket.socket:
        """The socket."""
        ...

    def is_there(self) -> bool:
        """Tell if it still has its name."""
        ...


Listen: TypeAlias = Callable[[], AbstractContextManager[NamedSocket]]


class RecipientAnswers:
    """The answers of one process: ``listen`` makes its socket, ``check`` is the one in use now."""

    def __init__(self, listen: Listen, check: Callable[[], RecipientCheck], report: Report) -> None:
        self._listen, self._check, self._report = listen, check, report
        self._talks: set[asyncio.Task[None]] = set()
        self._ending = False

    async def run(self, ready: Callable[[], None]) -> None:
        """Answer until cancelled. Call ``ready`` when the socket is there, or cannot be made."""
        try:
            while True:
                with ExitStack() as stack:
                    await self._serve_while_named(stack, ready)
        finally:
            talks, self._ending = set(self._talks), True
            for talk in talks:
                talk.cancel()
            if talks:
                await asyncio.wait(talks)

    async def _serve_while_named(self, stack: ExitStack, ready: Callable[[], None]) -> None:
        try:
            own = stack.enter_context(self._listen())
            server = await asyncio.start_unix_server(self._talk, sock=own.opened, limit=_LONGEST)
            stack.callback(server.close)
        except OSError as error:
            doing = "listening for questions about recipients"
            self._report(StoreTrouble(doing=doing, reason=str(error)))
            ready()
            await asyncio.sleep(_LOOK)
            return
        ready()
        while own.is_there():  # noqa: ASYNC110 -- the file system tells nothing by itself
            await asyncio.sleep(_LOOK)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions on one connection, one after the other."""
        talk = asyncio.current_task()
        try:
            if talk is None or len(self._talks) >= _MOST_CONNECTIONS:
                return
            self._talks.add(talk)
            while True:
                async with asyncio.timeout(_IDLE):
                    line = await reader.readuntil(b"\n")
                answer = await self._check().ask(RecipientQuestion.read(line[:-1]))
                writer.write(answer.line())
                await writer.drain()
        except (EOFError, OSError, ValueError, asyncio.LimitOverrunError):
            pass  # the receiver has gone, or says what no receiver says
        except asyncio.CancelledError:
            if not self._ending:
                raise
        finally:
            if talk is not None:
                self._talks.discard(talk)
            writer.close()
