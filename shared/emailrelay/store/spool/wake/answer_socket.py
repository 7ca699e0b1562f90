"""The socket at which a receiver gets the answers to the messages whose clients wait.

A datagram has a line for each answer: the message's id, and the reply.
"""

import contextlib
import os
import stat
from collections.abc import Callable

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk.directory import FILE_MODE, Directory
from emailrelay.store.spool.wake.hint_socket import HintSocket

SOCKET = "answers"
"""The prefix of its name. The process number follows; it is also part of the ids of its messages.
"""


class AnswerSocket(HintSocket):
    """Receives answers inside a running loop, and passes them to ``told``."""

    def __init__(
        self, directory: Directory, process: str, told: Callable[[QueueId, str], None]
    ) -> None:
        """See ``HintSocket``."""
        super().__init__(directory, SOCKET, _ignore)
        self.name = f"{SOCKET}.{process}"
        self._told = told

    def _mode(self) -> int:
        """In a sticky spool no other user may answer: a forged 250 would be lost mail."""
        with contextlib.suppress(OSError):
            if not os.fstat(self._directory.fileno()).st_mode & stat.S_ISVTX:
                return FILE_MODE
        return FILE_MODE & stat.S_IRWXU

    def _take(self, line: bytes) -> None:
        message, _, answer = line.decode(errors="replace").partition(" ")
        self._told(QueueId(message), answer)


def _ignore(_message: QueueId, _due: float) -> None:
    """Hear no hint: its lines are answers."""
