"""The machine that is set up: this one, or the directory of another one (``--root``)."""

import grp
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emailrelay.errors import RelayError

_ADMIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIME_LIMIT = 120
"""Seconds for a program of the system. Stopping a service is the longest."""


class SetupFailed(RelayError):
    """A step could not be made; the text names the file or the program, and the reason."""


@dataclass(frozen=True, slots=True)
class SystemUser:
    """A line of passwd(5), as far as the set-up needs it."""

    uid: int
    gid: int
    comment: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Paths, users and programs of a machine.

    All paths in arguments and results are those that the machine itself uses, except the results
    of ``real``.
    """

    root: Path = Path("/")

    @property
    def is_this_one(self) -> bool:
        """Tell if the running system itself is set up."""
        return self.root == Path("/")

    @property
    def has_systemd(self) -> bool:
        """Tell if systemd starts the services of this machine."""
        if self.is_this_one:  # sd_booted(3)
            return Path("/run/systemd/system").is_dir()
        return any(
            self.real(Path(place)).exists()
            for place in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
        )

    def real(self, path: Path) -> Path:
        """Return the path by which this process reaches a path of the machine.

        Raises:
            SetupFailed: a link on the way leads out of the machine's directory.

        """
        if self.is_this_one:
            return path
        found = self.root / path.relative_to("/")
        parent = found.parent.resolve()
        if not parent.is_relative_to(self.root):
            raise SetupFailed(f"{found}: a link on the way leads out of {self.root}")
        return found

    def holds(self, real: Path) -> bool:
        """Tell if a path that this process uses is in the machine's directory."""
        return real.is_relative_to(self.root)

    def own(self, real: Path) -> Path:
        """Return the machine's own name of a path that this process uses."""
        if self.is_this_one or not self.holds(real):
            return real
        return Path("/") / real.relative_to(self.root)

    def user(self, name: str) -> SystemUser | None:
        """Return the user of this name, if there is one."""
        if self.is_this_one:
            try:
                found = pwd.getpwnam(name)
            except KeyError:
                return None
            return SystemUser(found.pw_uid, found.pw_gid, found.pw_gecos)
        fields = self._table("/etc/passwd").get(name)
        return SystemUser(int(fields[2]), int(fields[3]), fields[4]) if fields else None

    def group(self, name: str) -> int | None:
        """Return the number of the group of this name, if there is one."""
        if self.is_this_one:
            try:
                return grp.getgrnam(name).gr_gid
            except KeyError:
                return None
        fields = self._table("/etc/group").get(name)
        return int(fields[2]) if fields else None

    def _table(self, path: str) -> Mapping[str, list[str]]:
        try:
            lines = self.real(Path(path)).read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        rows = [line.split(":") for line in lines if line.count(":") >= 3]
        return {row[0]: row for row in rows}

    def links_to(self, path: Path) -> Path | None:
        """Return the target of a symbolic link, as it stands in the link; None for all else."""
        real = self.real(path)
        return real.readlink() if real.is_symlink() else None

    def exists(self, path: Path) -> bool:
        """Tell if there is an entry of this name; a broken link is one, too."""
        return os.path.lexists(self.real(path))

    def has_program(self, name: str) -> bool:
        """Tell if this process can run a program of the system."""
        return shutil.which(name, path=_ADMIN_PATH) is not None

    def run(self, *words: str) -> None:
        """Run a program of the system.

        Raises:
            SetupFailed: it is missing, or has failed; the text has its first lines of output.

        """
        status, said = self.try_run(*words)
        if status:
            said = "; ".join(said.split("\n")[:3]) or f"exit status {status}"
            raise SetupFailed(f"{' '.join(words)}: {said}")

    def try_run(self, *words: str) -> tuple[int, str]:
        """Run a program of the system; return its exit status and its output.

        Raises:
            SetupFailed: it is missing, or does not end.

        """
        path = shutil.which(words[0], path=_ADMIN_PATH)
        if path is None:
            raise SetupFailed(f"{words[0]}: there is no such program; install it, then run again")
        try:
            done = subprocess.run(  # noqa: S603 -- programs of the system, found on a fixed path
                [path, *words[1:]],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_TIME_LIMIT,
                env={"PATH": _ADMIN_PATH, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired as error:
            raise SetupFailed(
                f"{' '.join(words)}: has not ended after {_TIME_LIMIT} seconds; run again"
            ) from error
        return done.returncode, done.stdout.strip()


def mode_of(path: Path) -> int:
    """Return the permissions of a file or directory."""
    return stat.S_IMODE(path.stat().st_mode)
