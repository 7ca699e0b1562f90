"""Local delivery of notices: by procmail, by another program, or into a maildir."""

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
from emailrelay.errors import RelayError, StoreUnusable, reason_of
from emailrelay.queue_id import QueueId

_TIME_LIMIT = 300.0
"""Seconds that a delivery program may take."""
_PATH = "/usr/local/bin:/usr/bin:/bin"


class NotDelivered(RelayError):
    """A notice could not be delivered now and stays stored; the text says why."""


class Agent(Protocol):
    """Delivers notices to users of this host."""

    def check(self, sender: Address) -> None:
        """Refuse a sender that this agent cannot reach, before anything is written.

        Raises:
            NotDelivered: the agent cannot reach the sender.

        """

    def deliver(self, notice: QueueId, sender: Address, text: bytes) -> None:
        """Deliver a notice once, even if this is called again after a crash.

        Raises:
            NotDelivered: it could not be delivered now.

        """


@dataclass(frozen=True, slots=True)
class LocalUsers:
    """The senders that are users of this host."""

    domains: frozenset[str]
    everything_to: str | None = None
    """The user who gets all notices, if set."""

    def user(self, sender: Address) -> str:
        """Return the user who gets a sender's notice.

        Raises:
            NotDelivered: the sender is not a user of this host.

        """
        if self.everything_to is not None:
            return self.everything_to
        name, _, domain = sender.rpartition("@") if "@" in sender else (sender, "", "")
        if domain and domain.lower() not in self.domains:
            raise NotDelivered(f"{domain} is not this host; use --domain {domain}, or --relay")
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError as error:
            raise NotDelivered(
                f"this host has no user {name!a}; use --user USER, or --relay"
            ) from error


@dataclass(frozen=True, slots=True)
class Program:
    """A program that reads a notice on standard input; ``{user}`` and ``{sender}`` are replaced."""

    command: Sequence[str]
    locals: LocalUsers

    @classmethod
    def parse(cls, command: str, known: LocalUsers) -> "Program":
        """Split a command line like a shell; no shell runs it.

        Raises:
            ValueError: a quote is not closed, or there is no word.

        """
        words = shlex.split(command)
        if not words:
            raise ValueError("--deliver-with: the command is empty")
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
            raise NotDelivered(f"{sender!a} would be read as an option of {self.command[0]}")
        if any("{user}" in word for word in self.command):
            user = self.locals.user(sender)
            arguments = [word.replace("{user}", user) for word in arguments]
        return arguments

    def deliver(self, notice: QueueId, sender: Address, text: bytes) -> None:
        """See ``Agent.deliver``. Each call has the same Message-ID, which the program can check."""
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
                timeout=_TIME_LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotDelivered(f"{arguments[0]}: {reason_of(error, arguments[0])}") from error
        if done.returncode:
            said = done.stderr[:200].decode(errors="replace").strip()
            raise NotDelivered(f"{shlex.join(arguments)}: exit status {done.returncode} {said}")


@dataclass(frozen=True, slots=True)
class Maildir:
    """A maildir. The notice's id is the file name, so that no notice arrives twice."""

    root: Path
    host: str

    def check(self, sender: Address) -> None:
        """See ``Agent.check``."""

    def deliver(self, notice: QueueId, sender: Address, text: bytes) -> None:  # noqa: ARG002 - one maildir for all
        """See ``Agent.deliver``."""
        try:
            # The owner could place links in the maildir that lead root elsewhere.
            with spool_owner.acting(self.root):
                self._put(f"{notice}.{self.host}", text)
        except (OSError, StoreUnusable) as error:
            raise NotDelivered(f"maildir: {reason_of(error)}") from error

    def _put(self, name: str, text: bytes) -> None:
        for part in ("tmp", "new", "cur"):
            (self.root / part).mkdir(0o700, parents=True, exist_ok=True)
        if any((self.root / "cur").glob(f"{name}:*")) or (self.root / "cur" / name).exists():
            return
        scratch, target = self.root / "tmp" / name, self.root / "new" / name
        scratch.unlink(missing_ok=True)
        self._write(scratch, text.replace(b"\r\n", b"\n"))
        scratch.rename(target)
        self._sync(os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

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
