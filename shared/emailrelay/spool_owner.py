"""Root works in a spool as the user who owns the spool.

Members of the spool's group may put anything into it. A process that works there has only the
owner's rights, so nothing in the spool can make it do more than the owner may.
"""

import contextlib
import os
from collections.abc import Generator
from typing import NamedTuple

from emailrelay.errors import StoreUnusable


class Owner(NamedTuple):
    """A user, and the group that his files get."""

    user: int
    group: int
    groups: list[int]


def become(spool: str | os.PathLike[str]) -> None:
    """As root, be the spool's owner from now on, with no way back.

    Raises:
        StoreUnusable: that user cannot run this program.

    """
    owner = _owner(spool)
    if owner is not None:
        _try_python(spool, owner)
        os.setgroups(owner.groups)
        os.setresgid(owner.group, owner.group, owner.group)
        os.setresuid(owner.user, owner.user, owner.user)


@contextlib.contextmanager
def acting(spool: str | os.PathLike[str], *, imports: bool = True) -> Generator[None]:
    """As root, use files as the owner of a directory does, within the block.

    ``imports``: something may be imported there that has not been imported yet.

    Raises:
        StoreUnusable: that user cannot run this program.

    """
    owner = _owner(spool)
    if owner is None:
        yield
        return
    if imports:
        _try_python(spool, owner)
    with _restored():
        os.setgroups(owner.groups)
        os.setegid(owner.group)
        os.seteuid(owner.user)
        yield


@contextlib.contextmanager
def as_root() -> Generator[None]:
    """Be root again within the block, if the process is root and acts as a spool's owner."""
    if os.getuid() != 0:
        yield
        return
    with _restored():
        os.seteuid(0)
        os.setegid(os.getgid())
        os.setgroups([os.getgid()])
        yield


@contextlib.contextmanager
def _restored() -> Generator[None]:
    """Restore the user and groups of the process after the block."""
    user, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(user)


def _owner(spool: str | os.PathLike[str]) -> Owner | None:
    """Give the user that root has to become; None: we are not root, or the spool belongs to root.

    A spool that is still to be made will belong to the owner of the directory that it is made in.
    """
    if os.geteuid() != 0:
        return None
    place = os.path.abspath(spool)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    status = os.stat(place)
    if status.st_uid == 0:
        return None
    return Owner(status.st_uid, status.st_gid, _groups(status.st_uid, status.st_gid))


def _groups(user: int, group: int) -> list[int]:
    import pwd  # noqa: PLC0415 - only root needs it

    try:
        account = pwd.getpwuid(user)
    except KeyError:
        return [group]
    return os.getgrouplist(account.pw_name, group)


def _try_python(spool: str | os.PathLike[str], owner: Owner) -> None:
    """Refuse a Python that the owner cannot read: later imports would fail."""
    with _restored():
        os.setgroups(owner.groups)
        os.setegid(owner.group)
        os.seteuid(owner.user)
        for path in (os.__file__, __file__):
            if not os.access(path, os.R_OK, effective_ids=True):
                raise StoreUnusable(
                    f"{os.fspath(spool)} belongs to user {owner.user}, who cannot read {path}: "
                    "install this program where that user can read it, and root becomes that user"
                )
