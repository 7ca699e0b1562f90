"""Asks the forwarders of this host what the next server says about a recipient."""

import asyncio
import socket
from collections.abc import Callable

from emailrelay.filters.connections import Connection, Connections, NoFilterAnswer
from emailrelay.host_port import ServerAddress, UnixPath
from emailrelay.silence import Silence
from emailrelay_receiver.dialogue.verifier_answer import Remote, Unknown, fits, from_line, question

_WITHIN = 6.0
"""Seconds for an answer: a little longer than the forwarder waits for the next server."""
_MOST_AT_ONCE = 20
"""Questions; further ones wait, and count as unanswered after the same time."""
_ANY = UnixPath("/")
"""The key of all connections: any forwarder can be asked."""


class ForwarderQuestions:
    """The questions of one process.

    ``connected`` connects to a forwarder, or raises OSError. Questions are lines of the protocol
    of address verifiers; see ``docs/verify-recipients.md``.
    """

    def __init__(self, connected: Callable[[], socket.socket]) -> None:
        self._connected = connected
        self._connections = Connections(self._connect)
        self._silence = Silence()
        self._free = asyncio.Semaphore(_MOST_AT_ONCE)

    async def ask(self, fields: tuple[str, ...]) -> Remote | Unknown:
        """Ask: the fields of ``Verifier.ask``, then the client's session, and ``utf8`` or empty.

        A ``Remote`` with a diagnostic means that the answer of the next server is unknown.
        """
        if not all(map(fits, fields)):
            return Remote(diagnostic="a question cannot hold this address or name")
        now = asyncio.get_running_loop().time
        if self._silence.forbids(now()):
            return Remote(diagnostic="no forwarder answered a short time ago")
        try:
            async with asyncio.timeout(_WITHIN), self._free:
                line = await self._connections.ask(_ANY, question(fields))
        except TimeoutError:
            self._silence.begin(now())
            return Remote(diagnostic=f"no forwarder answers within {_WITHIN:g} s")
        except (OSError, NoFilterAnswer) as error:
            self._silence.end()  # the next one may begin at any time, and to look costs little
            return Remote(diagnostic=f"no forwarder can be asked: {error}")
        self._silence.end()
        answer = from_line(line)
        if isinstance(answer, Remote | Unknown):
            return answer
        return Remote(diagnostic="a forwarder gave an answer that makes no sense")

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    async def _connect(self, _any: ServerAddress) -> Connection:
        loop = asyncio.get_running_loop()
        sock = self._connected()
        try:
            return (await loop.create_unix_connection(Connection, sock=sock))[1]
        except BaseException:  # cancelled as well: no socket may stay open
            sock.close()
            raise
