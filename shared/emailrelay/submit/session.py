"""``-bs``: an SMTP session on standard input and output, for programs that want to speak it."""

import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress

from emailrelay.errors import RelayError, reason_of

_CHUNK = 65536
_PATIENCE = 30.0
"""Seconds for a connection to the receiver on this host."""


class NoReceiver(RelayError):
    """Nobody is there to speak to; the text says why."""


def hold(root: str, port: int) -> int:
    """Hold a session to its end; return the exit status.

    Where what we write belongs to the spool's group by itself, a receiver of our own takes the mail in;
    else the one on this host does.

    Raises:
        NoReceiver: neither is possible.

    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        receiver = _start(root, theirs)
        if receiver is not None:
            theirs.close()
            _relay(ours)
            return receiver.wait()
    try:
        connection = socket.create_connection(("localhost", port), _PATIENCE)
    except OSError as error:
        raise NoReceiver(
            f"{root} is not yours to write, and localhost port {port}: {reason_of(error)}"
        ) from error
    with connection:
        connection.settimeout(None)
        _relay(connection)
    return os.EX_OK


def _start(root: str, connection: socket.socket) -> "subprocess.Popen[bytes] | None":
    """Start a receiver for this connection, as a user whose files the services can read."""
    try:
        spool = os.stat(root)
        other = os.geteuid() == 0 and spool.st_uid != 0
        inherits = spool.st_mode & stat.S_ISGID or spool.st_gid == os.getegid()
        if not other and not (inherits and os.access(root, os.W_OK | os.X_OK)):
            return None
        return subprocess.Popen(  # noqa: S603 -- our own interpreter and module
            [sys.executable, "-P", "-m", "emailrelay_receiver.one_session", "--spool-dir", root],
            stdin=connection.fileno(),
            stdout=subprocess.DEVNULL,
            user=spool.st_uid if other else None,
            group=spool.st_gid if other else None,
            extra_groups=[] if other else None,
        )
    except OSError:
        return None


def _relay(connection: socket.socket) -> None:
    """Pass on what is said, both ways, until the other side has said all."""
    threading.Thread(target=_speak, args=(connection,), daemon=True).start()
    with suppress(OSError):  # a client that is gone, or a receiver: there is nobody to tell
        while octets := connection.recv(_CHUNK):
            while octets:
                octets = octets[os.write(1, octets) :]


def _speak(connection: socket.socket) -> None:
    with suppress(OSError):
        while octets := os.read(0, _CHUNK):
            connection.sendall(octets)
    with suppress(OSError):  # also when standard input cannot be read: the receiver must not wait
        connection.shutdown(socket.SHUT_WR)
