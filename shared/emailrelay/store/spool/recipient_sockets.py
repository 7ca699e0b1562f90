"""The sockets at which forwarders answer questions about recipients.

Each forwarder process has one under ``.recipients/``, so none waits for another's name.
"""

import contextlib
import os
import random
import secrets
import socket
from collections.abc import Generator

from emailrelay.store.spool.disk import names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.wake import stream_sockets
from emailrelay.store.spool.wake.stream_sockets import OwnSocket


class RecipientSockets:
    """The sockets of one spool."""

    def __init__(self, root: str) -> None:
        """Use the spool directory ``root``; nothing is touched yet."""
        self._root = root
        self._looking: Directory | None = None

    @contextlib.contextmanager
    def listening(self) -> Generator[OwnSocket]:
        """Listen at a socket of this process, which is removed after the block.

        Raises:
            OSError: no socket can be made there.

        """
        directory = Directory(self._root).below(names.RECIPIENTS)
        name = f"{os.getpid()}.{secrets.token_hex(8)}"
        with stream_sockets.listening(directory, name) as own:
            yield own

    def connected(self) -> socket.socket:
        """Connect to one of the sockets, chosen at random.

        Raises:
            OSError: no forwarder answers.

        """
        if self._looking is None:
            self._looking = Directory(self._root, makes=False).below(names.RECIPIENTS, makes=False)
        found = stream_sockets.found(self._looking)
        random.shuffle(found)
        refused: OSError | None = None
        for name in found:
            try:
                return stream_sockets.connected(self._looking, name)
            except OSError as error:
                refused = error
        raise refused or FileNotFoundError("no forwarder with verify_recipients runs here")
