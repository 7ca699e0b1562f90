"""Makes root work in a spool with the rights of the spool's owner.

Members of the spool's group can put anything into it. A process that works there has only the
owner's rights, so that nothing in the spool can give anyone more rights than the owner has.
"""

import contextlib
import os
from collections.abc import Generator
from typing import NamedTuple

from emailrelay.errors import StoreUnusable

SERVICE_USER = "emailrelay"
"""The user of all services of an installation, and its group; units and pages name it."""


class Owner(NamedTuple):
    """A user, and the group of the user's new files."""

    user: int
    group: int
    groups: list[int]


def become(spool: str | os.PathLike[str]) -> None:
    """If the process runs as root, make it the spool's owner for good.

    Raises:
        StoreUnusable: the owner cannot run this program.

    """
    owner = _owner(spool)
    if owner is not None:
        _try_python(spool, owner)
        os.setgroups(owner.groups)
        os.setresgid(owner.group, owner.group, owner.group)
        os.setresuid(owner.user, owner.user, owner.user)


@contextlib.contextmanager
def acting(spool: str | os.PathLike[str], *, imports: bool = True) -> Generator[None]:
    """If the process runs as root, access files as the directory's owner within the block.

    ``imports``: the block may import modules that are not loaded yet.

    Raises:
        StoreUnusable: the owner cannot run this program.

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
    """Within the block, be root again, if root is acting as a spool's owner."""
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
    """Return the user that root must become; None: not root, or the spool belongs to root.

    A spool that does not exist yet will belong to the owner of its parent directory.
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
    """Refuse a Python that the owner cannot read, because later imports would fail."""
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
