"""Writes a file of settings or secrets: whole or not at all, and never over another one."""

import grp
import os
import pwd
import tempfile
from contextlib import suppress
from pathlib import Path

from emailrelay.errors import ConfigError
from emailrelay.spool_owner import SERVICE_USER

_FOR_ALL, _FOR_GROUP, _FOR_OWNER = 0o644, 0o640, 0o600


def check_free(path: Path, *, force: bool) -> bool:
    """Return whether a file is to be replaced: with ``force``, or if it sets nothing.

    Raises:
        ConfigError: there is another file.

    """
    if not os.path.lexists(path):
        return force
    if force or _sets_nothing(path):
        return True
    raise ConfigError(
        [f"{path}: exists; change it, or give --force to replace it (a copy is kept)"]
    )


def _sets_nothing(path: Path) -> bool:
    """Tell whether a file has only comments, as the example that emailrelay-setup installs."""
    try:
        return all(
            not line.strip() or line.lstrip().startswith("#")
            for line in path.read_text("utf-8").splitlines()
        )
    except (OSError, UnicodeDecodeError):
        return False


def write(path: Path, text: str, *, secret: bool, force: bool) -> None:
    """Write a file; ``secret``: only the services can read it. ``force`` keeps the old one as .old.

    Raises:
        ConfigError: the file exists (without ``force``), or cannot be written.

    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        scratch = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                _protect(file.fileno(), secret=secret)
                file.flush()
                os.fsync(file.fileno())
            _put(scratch, path, force=force)
        finally:
            with suppress(FileNotFoundError):
                scratch.unlink()
        _sync(path.parent)
    except FileExistsError as error:
        raise ConfigError([f"{path}: another program has made it; nothing was replaced"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from error


def _put(scratch: Path, path: Path, *, force: bool) -> None:
    if force:
        if path.exists():
            old = path.with_name(f"{path.name}.old")
            with suppress(FileNotFoundError):
                old.unlink()
            old.hardlink_to(path)  # so that there is a file under the name at any time
        scratch.replace(path)
    else:
        path.hardlink_to(scratch)  # fails if the name is taken meanwhile


def _protect(descriptor: int, *, secret: bool) -> None:
    if not secret:
        os.fchmod(descriptor, _FOR_ALL)
        return
    group = group_of_services() if os.geteuid() == 0 else None
    if group is not None:
        os.fchown(descriptor, 0, group)
    os.fchmod(descriptor, _FOR_OWNER if group is None else _FOR_GROUP)


def group_of_services() -> int | None:
    """Return the group of the services, or None before an installation."""
    with suppress(KeyError):
        return grp.getgrnam(SERVICE_USER).gr_gid
    with suppress(KeyError):
        return pwd.getpwnam(SERVICE_USER).pw_gid
    return None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
