"""The user whose rights count in a check by root."""

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from emailrelay import settings_file
from emailrelay.errors import ConfigError
from emailrelay.spool_dir import HostSettings
from emailrelay.spool_owner import SERVICE_USER
from emailrelay.store.chooser import spool_at


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user with all its groups."""

    name: str
    user: int
    group: int
    groups: tuple[int, ...]


def service_user(name: str | None, config: str | None) -> ServiceUser | None:
    """Return the user for a check; None: that of this process, which is not root.

    Root stays root only if the spool belongs to root, or if there is neither a spool nor a user of
    the usual name.

    Raises:
        ConfigError: there is no user of this name.

    """
    if os.geteuid() != 0:
        return None
    if name is not None:
        try:
            return _found(pwd.getpwnam(name))
        except KeyError as error:
            raise ConfigError([f"--user: there is no user {name!r} on this machine"]) from error
    owner = _owner(config)
    try:
        entry = pwd.getpwnam(SERVICE_USER) if owner is None else pwd.getpwuid(owner)
    except KeyError:
        return None
    return None if entry.pw_uid == 0 else _found(entry)


def _owner(config: str | None) -> int | None:
    """Return the owner of the spool directory, or None if there is none."""
    try:
        store = HostSettings(settings_file.read(config, os.environ), os.environ).store
    except ConfigError:  # the check itself names it
        return None
    spool = spool_at(store)
    try:
        return None if spool is None else Path(spool).stat().st_uid
    except OSError:
        return None


def _found(entry: pwd.struct_passwd) -> ServiceUser:
    others = (group.gr_gid for group in grp.getgrall() if entry.pw_name in group.gr_mem)
    groups = tuple(sorted({entry.pw_gid, *others}))
    return ServiceUser(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)
