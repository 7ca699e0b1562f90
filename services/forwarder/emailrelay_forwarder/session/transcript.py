"""The dialogue of a session as events, line by line, without secrets and message text."""

from collections.abc import Iterator
from dataclasses import dataclass

from emailrelay.events.event import Report
from emailrelay.events.sessions import Dialogue, Direction
from emailrelay_forwarder.session.session_error import SessionStep

MASK = "***"


@dataclass(frozen=True, slots=True)
class Transcript:
    """Reports the dialogue of one connection."""

    report: Report
    peer: str

    def sent(self, step: SessionStep, octets: bytes) -> None:
        """Report commands, one or several with their CRLFs; of the content only its end."""
        match step:
            case SessionStep.CONTENT:
                return
            case SessionStep.DOT:
                lines = ["."]
            case SessionStep.AUTH:
                lines = [_masked(octets)]
            case _:
                lines = octets.decode(errors="replace").splitlines()
        for line in lines:
            self._tell(Direction.SENT, line)

    def received(self, step: SessionStep, code: int, text: str) -> None:
        """Report a reply.

        A reply to AUTH may repeat a secret, so only its code is reported.
        """
        for line in _reply_lines(code, MASK if step is SessionStep.AUTH else text):
            self._tell(Direction.RECEIVED, line)

    def _tell(self, direction: Direction, line: str) -> None:
        self.report(Dialogue(direction=direction, line=line, peer=self.peer))


def _masked(octets: bytes) -> str:
    """Keep the mechanism of an AUTH command; mask the rest, and all later lines."""
    words = octets.decode(errors="replace").split()
    if words and words[0].upper() == "AUTH":
        return " ".join([*words[:2], *([MASK] if len(words) > 2 else [])])
    return MASK


def _reply_lines(code: int, text: str) -> Iterator[str]:
    *before, last = text.split("\n")
    for line in before:
        yield f"{code}-{line}"
    yield f"{code} {last}" if last else str(code)
