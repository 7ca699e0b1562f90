"""The user at the other end of a local TCP connection, from the kernel's table (proc(5))."""

import grp
import os
import pwd
import socket
import sys
from collections.abc import Iterable
from typing import TypeAlias

from emailrelay import linux

TcpEnd: TypeAlias = tuple[str, int]
"""An IPv4 address and a port."""

_LOCAL, _REMOTE, _USER, _INODE = 1, 2, 7, 9
"""Columns of these tables."""


def user_of(connection: socket.socket) -> int | None:
    """Return the number of the user whose socket is at the other end; None if it is unknown."""
    try:
        ours, theirs = connection.getsockname()[:2], connection.getpeername()[:2]
        lines = linux.tcp_table()
    except OSError:
        return None
    return owner(lines, local=theirs, remote=ours)


def owner(lines: Iterable[str], *, local: TcpEnd, remote: TcpEnd) -> int | None:
    """Return the user of the socket from ``local`` to ``remote`` in a table of the kernel.

    A socket that its program has closed has no inode, and the table shows root as its user. Such a
    user is unknown.
    """
    ends = {(_plain(local), _plain(remote)), (_mapped(local), _mapped(remote))}
    for line in lines:
        words = line.split()
        if len(words) > _INODE and (words[_LOCAL], words[_REMOTE]) in ends:
            return int(words[_USER]) if words[_INODE] != "0" else None
    return None


def belongs_here(user: int | None) -> bool:
    """Tell whether this is root, our own user, or a member of our group (the spool's group)."""
    if user is None:
        return False
    if user in {0, os.geteuid()}:
        return True
    try:
        entry = pwd.getpwuid(user)
        members = grp.getgrgid(os.getegid()).gr_mem
    except KeyError:
        return False
    return entry.pw_gid == os.getegid() or entry.pw_name in members


def _plain(end: TcpEnd) -> str:
    # The kernel prints the number as it is in memory.
    address = int.from_bytes(socket.inet_aton(end[0]), sys.byteorder)
    return f"{address:08X}:{end[1]:04X}"


def _mapped(end: TcpEnd) -> str:
    """Write an IPv4 address in the form of IPv6 sockets (RFC 4291 section 2.5.5.2)."""
    prefix = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)
    return f"{'0' * 16}{prefix:08X}{_plain(end)}"
