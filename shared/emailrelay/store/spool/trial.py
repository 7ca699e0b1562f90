"""Tries whether a service could open a spool directory, and leaves no trace in it."""

import errno
import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from emailrelay.errors import RelayError
from emailrelay.events.event import report_nothing
from emailrelay.store.spool.disk import directory_check, names
from emailrelay.store.spool.durable import segment
from emailrelay.store.spool.message.spool import Spool, open_spool

_WORK = os.R_OK | os.W_OK | os.X_OK
_MIB = 1024 * 1024
_WITHOUT = frozenset({errno.EOPNOTSUPP, errno.EINVAL})


class SpoolTrial(NamedTuple):
    """What was found; each text says what to do."""

    problems: list[str]
    warnings: list[str]


def try_spool(path: str, minimum_free: int = 0) -> SpoolTrial:
    """Look at a spool directory with the rights of this process.

    ``minimum_free``: octets that the receiver wants to be free.
    """
    if not os.path.lexists(path):
        above = _above(path)
        return SpoolTrial(_missing(path, above), _room(above, minimum_free))
    try:
        problems = _opening(path)
    except RelayError as error:
        problems = [str(error)]
    if problems:
        return SpoolTrial(problems, [])
    return SpoolTrial(_written(path), _room(path, minimum_free))


def _above(path: str) -> str:
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    return above


def _missing(path: str, above: str) -> list[str]:
    if not os.path.isdir(above):
        return [f"{path}: Not a directory ({above}); name another one"]
    if os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        return []
    make = f"make it: install -d -o USER -g GROUP -m 2770 {path}"
    return [f"{path}: does not exist, and this user cannot make it in {above}; {make}"]


def _opening(path: str) -> list[str]:
    """Return the problems of the directories; raise RelayError as the opening of the store."""
    spool = open_spool(Path(path), report_nothing, lambda: 0.0, makes=False)
    with closing(spool.announcer), closing(spool), closing(spool.log):
        try:
            spool.root.renew()
            directory_check.check(Path(path))
            _read_log(spool)
        except OSError as error:
            raise directory_check.trouble(Path(path), error) from error
    inside = [os.path.join(path, name) for name in names.DIRECTORIES]
    return [
        f"{place}: this user has no right to work in it; give it to the user of the services"
        for place in [path, *filter(os.path.lexists, inside)]
        if not (os.path.isdir(place) and os.access(place, _WORK, effective_ids=True))
    ]


def _read_log(spool: Spool) -> None:
    if os.path.isdir(os.path.join(spool.root.path, names.LOG)):
        with ExitStack() as opened:
            segment.open_all(spool.directories.log, opened)


def _written(path: str) -> list[str]:
    """Write a file without a name, which no other process can see."""
    try:
        descriptor = os.open(path, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, IsADirectoryError):
        return []  # a system or file system without such files
    except OSError as error:
        return [] if error.errno in _WITHOUT else [f"{path}: cannot be written: {error.strerror}"]
    try:
        os.write(descriptor, b"\0")
        os.fsync(descriptor)
    except OSError as error:
        return [f"{path}: cannot be written: {error.strerror}; make room"]
    finally:
        os.close(descriptor)
    return []


def _room(path: str, minimum_free: int) -> list[str]:
    system = os.statvfs(path)
    free = system.f_bavail * system.f_frsize
    if free >= minimum_free:
        return []
    return [
        (
            f"{path}: {free // _MIB} MiB are free, "
            f"less than minimum_free ({minimum_free // _MIB} MiB),"
            " so that mail is answered with 452; make room"
        )
    ]
