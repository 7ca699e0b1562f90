"""Load from smtp-source, of Debian's postfix package."""

import contextlib
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass, replace

KIB, MIB = 1024, 1 << 20
_SOURCE = "/usr/sbin/smtp-source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The mail of smtp-source. One message a session unless ``keep``."""

    messages: int
    octets: int
    sessions: int
    keep: bool = True

    @property
    def words(self) -> str:
        """Write it for a table."""
        sessions = f"{self.sessions} session{'s' if self.sessions > 1 else ''}"
        messages = "many messages" if self.keep else "one message"
        return f"{size(self.octets)}, {sessions}, {messages} a session"

    @property
    def name(self) -> str:
        """Write it for the name of a case."""
        octets = size(self.octets).replace(" ", "")
        return f"{octets}-{self.sessions}{'' if self.keep else '-one'}"

    def scaled(self, share: float) -> "Load":
        """Return the same with another number of messages, at least one for each session."""
        return replace(self, messages=max(self.sessions, round(self.messages * share)))

    def send(self, port: int) -> float:
        """Send it all; return the seconds from the first connection to the last answer."""
        began = time.monotonic()
        subprocess.run(self._command(port), check=True)
        return time.monotonic() - began

    @contextlib.contextmanager
    def sending(self, port: int) -> Generator[None]:
        """Send it in the background, for as long as the block lasts."""
        source = subprocess.Popen(self._command(port))
        try:
            yield
        finally:
            source.kill()
            source.wait()

    def _command(self, port: int) -> list[str]:
        command = [_SOURCE, "-s", str(self.sessions), "-l", str(self.octets)]
        command += ["-m", str(self.messages)]
        command += ["-f", "from@bench.invalid", "-t", "to@bench.invalid"]
        command += ["-d"] if self.keep else []
        return [*command, f"127.0.0.1:{port}"]


def warm_up(port: int, sessions: int) -> None:
    """Send a message over each of this many sessions: servers start their parts on demand."""
    Load(messages=sessions, octets=KIB, sessions=sessions, keep=False).send(port)


def size(octets: int) -> str:
    """Write a size for a table."""
    return f"{octets // KIB} KiB" if octets < MIB else f"{octets // MIB} MiB"
