"""``-bs``: an SMTP session on standard input and output."""

import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress

from emailrelay.errors import RelayError, reason_of
from emailrelay.store.quick_chooser import directory_at
from emailrelay.store.quick_submission import takes_submissions
from emailrelay.store.submission import SubmissionRefused

_CHUNK = 65536
_TIME_LIMIT = 30.0
"""Seconds for a connection to the receiver on this host."""


class NoReceiver(RelayError):
    """There is no receiver for the session; the text says why."""


def hold(root: str | None, port: int, config: str | None = None, *, named: bool = False) -> int:
    """Hold a session to its end; return the exit status.

    ``root``: the store; None: this user cannot know it. ``config``: the settings file that the
    command line names. If new files get the spool's group by themselves, the command starts its own
    receiver. Otherwise the receiver on this host accepts the mail. ``named``: the command line
    names the store, so the receiver must not put the mail into another one.

    Raises:
        SubmissionRefused: there is no such store, and it is ``named``.
        NoReceiver: neither is possible.

    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            receiver = None if root is None else _start(root, theirs, config)
        except SubmissionRefused:
            if named:
                raise
            receiver = None
        if receiver is not None:
            theirs.close()
            _relay(ours)
            return receiver.wait()
    try:
        connection = socket.create_connection(("localhost", port), _TIME_LIMIT)
    except OSError as error:
        raise NoReceiver(
            f"you have no write access to {root or 'the store'}, "
            f"and localhost port {port}: {reason_of(error)}"
        ) from error
    with connection:
        connection.settimeout(None)
        _relay(connection)
    return os.EX_OK


def _start(
    root: str, connection: socket.socket, config: str | None
) -> "subprocess.Popen[bytes] | None":
    """Start a receiver for this connection, as a user whose files the services can read.

    Raises:
        SubmissionRefused: there is no such store.

    """
    directory = directory_at(root)
    more = [] if config is None else ["--config", config]
    if directory is None:
        store = ["--store", root, *more]
        return _start_with(store, connection) if takes_submissions(root) else None
    root = directory
    try:
        spool = _directory(root)
        other = os.geteuid() == 0 and spool.st_uid != 0
        inherits = spool.st_mode & stat.S_ISGID or spool.st_gid == os.getegid()
        if not other and not (inherits and os.access(root, os.W_OK | os.X_OK)):
            return None
        return _start_with(["--spool-dir", root, *more], connection, spool if other else None)
    except OSError:
        return None


def _directory(root: str) -> os.stat_result:
    """Return the status of a spool directory; see ``_start`` for the error."""
    with suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(root)
        if stat.S_ISDIR(found.st_mode):
            return found
    raise SubmissionRefused(f"{root} is not a spool directory")


def _start_with(
    store: list[str], connection: socket.socket, owner: os.stat_result | None = None
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 -- our own interpreter and module
        [sys.executable, "-P", "-m", "emailrelay_receiver.one_session", *store],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        user=None if owner is None else owner.st_uid,
        group=None if owner is None else owner.st_gid,
        extra_groups=None if owner is None else [],
    )


def _relay(connection: socket.socket) -> None:
    """Copy octets in both directions until the receiver ends the session."""
    threading.Thread(target=_copy_input, args=(connection,), daemon=True).start()
    with suppress(OSError):  # the client or the receiver has gone, so nothing can be reported
        while octets := connection.recv(_CHUNK):
            while octets:
                octets = octets[os.write(1, octets) :]


def _copy_input(connection: socket.socket) -> None:
    with suppress(OSError):
        while octets := os.read(0, _CHUNK):
            connection.sendall(octets)
    with suppress(OSError):  # also if standard input cannot be read: the receiver must not wait
        connection.shutdown(socket.SHUT_WR)
