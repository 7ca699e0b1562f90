"""Who the command runs as: started by root, it becomes an ordinary user."""

import grp
import os
import pwd
from dataclasses import dataclass

from emailrelay.linux import give_up_new_privileges


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, with all his groups."""

    name: str
    user: int
    group: int
    groups: tuple[int, ...]


def find(name: str) -> Identity:
    """Look a user up by name; raise KeyError when there is none."""
    entry = pwd.getpwnam(name)
    groups = {entry.pw_gid, *(g.gr_gid for g in grp.getgrall() if name in g.gr_mem)}
    return Identity(name, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))


def become(identity: Identity) -> None:
    """Be this user from now on, with no way back, in no program that is run from here."""
    os.setgroups(identity.groups)
    os.setresgid(identity.group, identity.group, identity.group)
    os.setresuid(identity.user, identity.user, identity.user)
    give_up_new_privileges()
