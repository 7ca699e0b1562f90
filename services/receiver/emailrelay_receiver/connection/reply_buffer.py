"""The replies that wait to be sent: those to pipelined commands go together."""

from emailrelay.reply import Reply
from emailrelay_receiver.connection.session_log import SessionLog


class ReplyBuffer:
    """Collects reply lines and logs them."""

    __slots__ = ("_log", "_octets")

    def __init__(self, log: SessionLog) -> None:
        self._log = log
        self._octets = bytearray()

    def __len__(self) -> int:
        """Count the octets that wait."""
        return len(self._octets)

    def add(self, reply: Reply) -> None:
        """Append a reply of one line."""
        self.add_line(str(reply))

    def add_line(self, line: str) -> None:
        """Append a line, given without its end."""
        self._octets += f"{line}\r\n".encode()
        self._log.sent(line)

    def take(self) -> bytes:
        """Take everything that waits."""
        octets = bytes(self._octets)
        self._octets.clear()
        return octets
