"""The two sides of a client's wait for its message's answer (``ack`` other than ``stored``)."""

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar

from emailrelay.ack import Ack
from emailrelay.reply import Reply
from emailrelay.running_loop import running_loop

_LOOK = 1.0
"""Seconds between looks for an answer, in case its datagram was lost."""


class Waiter(ABC):
    """One client's wait, on the receiver's side."""

    ack: ClassVar[Ack]

    def __init__(self) -> None:
        self.doubt = ""
        """After giving up: the server to which the final dot may be on its way, if any."""
        self._reply: Reply | None = None
        self._over = False
        """True: it was given up, and a later answer does not count."""
        self._woken: asyncio.Future[None] | None = None

    def has_answer(self) -> bool:
        """Tell if the answer has come, by a datagram that was read or in a file."""
        if self._reply is None:
            self._look_again()
        return self._reply is not None

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """Wait for the answer; without one, give up after ``within`` seconds or when ``gone``."""
        loop = running_loop()
        end = loop.time() + within
        if gone is not None:
            gone.add_done_callback(self._wake)
        try:
            while self._reply is None and (gone is None or not gone.done()):
                rest = end - loop.time()
                if rest <= 0:
                    break
                self._woken = loop.create_future()
                timer = loop.call_later(min(rest, _LOOK), self._look_again)
                try:
                    await self._woken
                finally:
                    timer.cancel()
        finally:
            if gone is not None:
                gone.remove_done_callback(self._wake)
        return self._reply or self.give_up()

    def _look_again(self) -> None:
        try:
            self._look()
        finally:  # its caller may be a timer, which is not set again before that
            self._wake()

    def _wake(self, _gone: asyncio.Future[None] | None = None) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def told(self, answer: str) -> None:
        """Handle a datagram from the process that settles the message."""
        if not self._over:
            self._hear(answer)
            if self._reply is not None:
                self._wake()

    @abstractmethod
    def _hear(self, answer: str) -> None:
        """Note the reply, if the datagram is reason enough."""

    @abstractmethod
    def _look(self) -> None:
        """Note the reply if a file has it. A file that cannot be read is not an answer."""

    def give_up(self) -> Reply | None:
        """End the wait; return the reply if it came before."""
        if self._reply is None and not self._over:
            self._end()
            self._over = True
        return self._reply

    @abstractmethod
    def _end(self) -> None:
        """End the wait, and note the reply if it came before."""

    def close(self) -> None:  # noqa: B027 - a default
        """Remove what only the wait needed."""


class Wait(ABC):
    """One client's wait, on the side of the process that settles; open until ``close``."""

    ack: ClassVar[Ack]

    @abstractmethod
    def stands(self) -> bool:
        """Tell if the client still waits."""

    @abstractmethod
    async def tell(self, reply: Reply) -> bool:
        """Answer the client; False if it does not wait any more."""

    def close(self) -> None:  # noqa: B027 - a default
        """Close what is open for the wait."""
