"""The user of the command: if root starts it, it becomes an ordinary user."""

import grp
import os
import pwd
from dataclasses import dataclass

from emailrelay.linux import give_up_new_privileges


@dataclass(frozen=True, slots=True)
class Identity:
    """A user with all its groups."""

    name: str
    user: int
    group: int
    groups: tuple[int, ...]


def find(name: str) -> Identity:
    """Return the user of this name; raise KeyError if there is none."""
    entry = pwd.getpwnam(name)
    groups = {entry.pw_gid, *(g.gr_gid for g in grp.getgrall() if name in g.gr_mem)}
    return Identity(name, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))


def become(identity: Identity) -> None:
    """Become this user for good, also in programs that this process runs."""
    # First: this call imports a module, and the user may have no access to Python.
    give_up_new_privileges()
    os.setgroups(identity.groups)
    os.setresgid(identity.group, identity.group, identity.group)
    os.setresuid(identity.user, identity.user, identity.user)
