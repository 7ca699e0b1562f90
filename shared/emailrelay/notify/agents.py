"""Local delivery: a notice handed to procmail, to another program, or put into a maildir."""

import os
import pwd
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emailrelay import spool_owner
from emailrelay.envelope import Address
from emailrelay.errors import StoreUnusable, reason_of
from emailrelay.queue_id import QueueId

_PATIENCE = 300.0
"""Seconds a delivery program may take."""
_PATH = "/usr/local/bin:/usr/bin:/bin"


class NotDelivered(Exception):
    """A notice could not be delivered now; it is kept. The text says why."""


class Agent(Protocol):
    """Delivers to people of this host."""

    def check(self, sender: Address) -> None:
        """Refuse a sender that cannot be reached this way, before anything is written.

        Raises:
            NotDelivered: it cannot.

        """

    def deliver(self, notice: QueueId, sender: Address, text: bytes) -> None:
        """Deliver; the same notice may come twice if somebody died, and must not arrive twice.

        Raises:
            NotDelivered: it could not be delivered now.

        """


@dataclass(frozen=True, slots=True)
class Locals:
    """Which senders are users of this host."""

    domains: frozenset[str]
    everything_to: str | None = None
    """A user who gets every notice."""

    def user(self, sender: Address) -> str:
        """Give the user who is to get a sender's notice.

        Raises:
            NotDelivered: the sender is not of this host.

        """
        if self.everything_to is not None:
            return self.everything_to
        name, _, domain = sender.rpartition("@") if "@" in sender else (sender, "", "")
        if domain and domain.lower() not in self.domains:
            raise NotDelivered(f"{domain} is not this host; say --domain {domain}, or --relay")
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError as error:
            raise NotDelivered(
                f"this host has no user {name!a}; say --user USER, or --relay"
            ) from error


@dataclass(frozen=True, slots=True)
class Program:
    """A program that reads a message on standard input; ``{user}`` and ``{sender}`` are filled in."""

    command: Sequence[str]
    locals: Locals

    @classmethod
    def parse(cls, command: str, known: Locals) -> "Program":
        """Read a command line as a shell would cut it; no shell runs it.

        Raises:
            ValueError: a quote is open, or there is no word.

        """
        words = shlex.split(command)
        if not words:
            raise ValueError("an empty command")
        return cls(words, known)

    def check(self, sender: Address) -> None:
        """See ``Agent.check``."""
        self._arguments(sender)

    def _arguments(self, sender: Address) -> list[str]:
        arguments = [word.replace("{sender}", sender) for word in self.command]
        if any(
            word.startswith("-") and word != given
            for word, given in zip(arguments, self.command, strict=True)
        ):
            raise NotDelivered(f"{sender!a} would be taken for an option of {self.command[0]}")
        if any("{user}" in word for word in self.command):
            user = self.locals.user(sender)
            arguments = [word.replace("{user}", user) for word in arguments]
        return arguments

    def deliver(self, notice: QueueId, sender: Address, text: bytes) -> None:
        """See ``Agent.deliver``. The notice's Message-ID is the same each time, for the program to see."""
        arguments = self._arguments(sender)
        try:
            done = subprocess.run(  # noqa: S603 - the operator's command, no shell
                arguments,
                input=text.replace(b"\r\n", b"\n"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env={"PATH": _PATH, "EMAILRELAY_MESSAGE_ID": notice},
                start_new_session=True,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotDelivered(f"{arguments[0]}: {reason_of(error, arguments[0])}") from error
        if done.returncode:
            said = done.stderr[:200].decode(errors="replace").strip()
            raise NotDelivered(f"{shlex.join(arguments)}: exit status {done.returncode} {said}")


@dataclass(frozen=True, slots=True)
class Maildir:
    """A maildir: a file a message, named by the notice, so that none is put there twice."""

    root: Path
    host: str

    def check(self, sender: Address) -> None:
        """See ``Agent.check``."""

    def deliver(self, notice: QueueId, sender: Address, text: bytes) -> None:  # noqa: ARG002 - one maildir for all
        """See ``Agent.deliver``."""
        try:
            # Whoever owns the maildir may lead root elsewhere by a link in it, but not himself.
            with spool_owner.acting(self.root):
                self._put(f"{notice}.{self.host}", text)
        except (OSError, StoreUnusable) as error:
            raise NotDelivered(f"maildir: {reason_of(error)}") from error

    def _put(self, name: str, text: bytes) -> None:
        for part in ("tmp", "new", "cur"):
            self._directory(part)
        if any((self.root / "cur").glob(f"{name}:*")) or (self.root / "cur" / name).exists():
            return
        scratch, target = self.root / "tmp" / name, self.root / "new" / name
        scratch.unlink(missing_ok=True)
        self._write(scratch, text.replace(b"\r\n", b"\n"))
        scratch.rename(target)
        self._sync(os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def _directory(self, part: str) -> None:
        path = self.root / part
        if not path.is_dir():
            path.mkdir(0o700, parents=True)

    def _write(self, path: Path, text: bytes) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)

    def _sync(self, directory: int) -> None:
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
