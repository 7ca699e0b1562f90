"""Asks an address verifier: a program for each question, or a service on open connections."""

import asyncio
from typing import Protocol

from emailrelay import host_port
from emailrelay.errors import RelayError
from emailrelay.filters import connections
from emailrelay.filters.connections import Connections
from emailrelay.filters.program import (
    Broken,
    Exited,
    ProgramLimits,
    ProgramNotStarted,
    ProgramResult,
    Programs,
    Signalled,
    TimedOut,
)
from emailrelay.host_port import ServerAddress
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay_receiver.dialogue.verifier_answer import (
    Unknown,
    VerifierAnswer,
    fits,
    from_exit,
    from_line,
    question,
)

_MOST_AT_ONCE = 20
"""Questions; further ones wait."""
_NO_QUESTION = Unknown(
    Reply(550, "5.1.3 an address this long, or with |, cannot be checked here"),
    "not asked about a recipient that does not fit into a question",
)


class NoVerifierAnswer(RelayError):
    """The verifier has no answer; the client gets a temporary refusal."""


class Verifier(Protocol):
    """Knows the recipients."""

    spec: tuple[str, float]
    """Its setting and its time limit, for comparison."""

    async def ask(self, fields: tuple[str, ...]) -> VerifierAnswer:
        """Ask: recipient, sender, ``ip:port``, domain, mechanism or ``none``, login name.

        Raises:
            NoVerifierAnswer: there is no answer.

        """
        ...

    async def close(self) -> None:
        """Close connections and end programs."""
        ...


class ProgramVerifier:
    """Runs a program for each question, its arguments as they are, without a shell."""

    def __init__(self, path: str, timeout: float) -> None:
        self.spec = (path, timeout)
        self._path = path
        self._programs: Programs | None = None
        self._limits = ProgramLimits(timeout=timeout)
        self._free = asyncio.Semaphore(_MOST_AT_ONCE)

    async def ask(self, fields: tuple[str, ...]) -> VerifierAnswer:
        """See ``Verifier.ask``."""
        async with self._free:
            if self._programs is None:
                self._programs = Programs(self._limits)
                await self._programs.__aenter__()
            outcome = await self._programs.run((self._path, *fields), message=QueueId(""))
        return _answer(outcome)

    async def close(self) -> None:
        """End the programs that still run."""
        if self._programs is not None:
            await self._programs.__aexit__(None, None, None)


def _answer(outcome: ProgramResult) -> VerifierAnswer:
    match outcome:
        case Exited(code, output):
            return from_exit(code, output)
        case Signalled(number):
            raise NoVerifierAnswer(f"ended by signal {number}")
        case TimedOut(seconds):
            raise NoVerifierAnswer(f"took longer than {seconds:g} s")
        case ProgramNotStarted(reason):
            raise NoVerifierAnswer(f"cannot be run: {reason}")
        case Broken(reason):
            raise NoVerifierAnswer(f"was killed after an error of the receiver: {reason}")


class NetworkVerifier:
    """Asks a service over connections that stay open, one question at a time on each."""

    def __init__(self, server: ServerAddress, timeout: float) -> None:
        self.spec = (f"net:{server}", timeout)
        self._server = server
        self._timeout = timeout
        self._connections = Connections()
        self._free = asyncio.Semaphore(_MOST_AT_ONCE)

    async def ask(self, fields: tuple[str, ...]) -> VerifierAnswer:
        """See ``Verifier.ask``. Refuse a recipient about which the service cannot be asked."""
        if not fits(fields[0]):
            return _NO_QUESTION  # the service would judge another address
        async with self._free:
            try:
                async with asyncio.timeout(self._timeout):
                    line = await self._connections.ask(self._server, question(fields))
            except TimeoutError:
                raise NoVerifierAnswer(f"took longer than {self._timeout:g} s") from None
            except (OSError, connections.NoFilterAnswer) as error:
                raise NoVerifierAnswer(f"cannot be asked: {error}") from error
        answer = from_line(line)
        if answer is None:
            raise NoVerifierAnswer("gave an answer that makes no sense")
        return answer

    async def close(self) -> None:
        """Close the connections."""
        self._connections.close()


def make_verifier(spec: str, timeout: float) -> Verifier:
    """Make the verifier that the settings name; ``timeout`` is for one question, in seconds."""
    kind, _, server = spec.partition(":")
    if kind == "net":
        return NetworkVerifier(host_port.parse(server), timeout)
    return ProgramVerifier(spec, timeout)
