"""Looks for damage in a spool directory without changing it, and repairs what it has found.

Mail comes and goes meanwhile, so a wrong entry is looked at a second time under its present name
before it is called a problem.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from emailrelay import envelope_format, journal
from emailrelay.errors import DamagedMessage, reason_of
from emailrelay.events import Event
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.store import SpoolStore

_WORKING = (Stage.UNFILTERED, Stage.READY)


@dataclass(frozen=True, slots=True)
class DamageFinding:
    """A name that should not be there, or a wrong file. ``name`` is relative to the spool."""

    name: str
    problem: str
    id: QueueId | None = None
    stage: Stage | None = None


@dataclass(slots=True)
class Verification:
    """One look at a spool. With ``contents``, checksums are compared as well as lengths."""

    root: Directory
    contents: bool = False
    messages: int = 0
    _told: list[Event] = field(default_factory=list[Event])

    def listing(self) -> list[str]:
        """List the names to look at."""
        found = sorted(files.listed(self.root))
        for directory in (names.DRAFTS, names.WORK):
            with contextlib.suppress(FileNotFoundError):
                inside = sorted(files.listed(self._directory(directory)))
                found.extend(f"{directory}/{name}" for name in inside)
        return [name for name in found if name not in names.DIRECTORIES]

    def _directory(self, name: str) -> Directory:
        return self.root.below(name, makes=False)

    def _at(self, name: str) -> Location:
        directory, _, base = name.rpartition("/")
        return (self._directory(directory) if directory else self.root) / base

    def look(self, name: str) -> Iterator[DamageFinding]:
        """Look at one name. A file that cannot be read is a finding, and hides no other."""
        try:
            yield from self._look(name)
        except FileNotFoundError:
            return  # it was moved or removed
        except OSError as error:
            yield DamageFinding(name, f"cannot be read: {error.strerror}")

    def _look(self, name: str) -> Iterator[DamageFinding]:
        directory, _, base = name.rpartition("/")
        entry, content = names.parse(base), names.parse_content(base)
        if directory == names.DRAFTS:
            yield from self._draft(name)
        elif directory == names.WORK:
            yield from self._copy(name)
        elif entry is not None:
            yield from self._message(name, entry)
        elif content is not None and not self._has_envelope(content):
            yield DamageFinding(name, "a content without an envelope", content)
        elif names.parse_busy(base) is not None:
            yield DamageFinding(name, "left behind by a forwarder of the old program")

    def _message(self, name: str, entry: names.EnvelopeName) -> Iterator[DamageFinding]:
        self.messages += 1
        problem = self._damage(name, entry.id)
        # S4 and S5 wait for the operator in any case, with the damage in their journal.
        if problem and entry.stage in _WORKING and files.is_there(self._at(name)):
            yield DamageFinding(name, problem, entry.id, entry.stage)

    def _damage(self, name: str, message: QueueId) -> str | None:
        try:
            envelope = files.open_regular(self._at(name))
            if envelope is None:
                return "no regular file"
            try:
                file = envelope_format.parse(files.read_all(envelope))
            finally:
                os.close(envelope)
        except (DamagedMessage, OSError) as error:
            return reason_of(error, name)
        history = journal.read(journal.parse(file.tail))
        return self._content_damage(message, history)

    def _content_damage(self, message: QueueId, history: journal.History) -> str | None:
        content = files.open_regular(self.root / names.content(message))
        if content is None:
            return "content: missing"
        try:
            size = os.fstat(content).st_size
            if history.released:  # the operator wants it sent as it is
                return None
            if history.length not in (None, size):
                return f"content: {size} octets, {history.length} were accepted"
            if self.contents and history.crc32 is not None:
                _, crc32 = files.measure(content)
                return None if crc32 == history.crc32 else "content: wrong checksum"
        finally:
            os.close(content)
        return None

    def _draft(self, name: str) -> Iterator[DamageFinding]:
        if names.parse(name.rpartition("/")[2]) is None:
            return
        lock = locks.lock_named(self._at(name))
        if lock is not None:
            locks.unlock_and_close(lock)
            yield DamageFinding(name, "a draft whose writer died")

    def _copy(self, name: str) -> Iterator[DamageFinding]:
        message = QueueId(name.rpartition("/")[2].rpartition(".")[0])
        path = self.root / names.envelope(message, Stage.UNFILTERED)
        lock = locks.lock_named(path)
        if lock is not None:
            locks.unlock_and_close(lock)
        if lock is not None or not files.is_there(path):
            yield DamageFinding(name, "a filters' work copy that no process works on", message)

    def _has_envelope(self, message: QueueId) -> bool:
        present = [
            *(names.envelope(message, stage) for stage in Stage),
            names.busy_envelope(message),
        ]
        return any(files.is_there(self.root / name) for name in present) or files.is_there(
            self.root / f"{names.draft_envelope(message)}.new"
        )

    async def repair(self, found: list[DamageFinding]) -> dict[DamageFinding, str]:
        """Open the spool, which recovers it, and claim what is damaged, which sets it aside."""
        done: dict[DamageFinding, str] = {}
        async with SpoolStore(
            Path(self.root.path), report=self._told.append, clock=time.time
        ) as store:
            for finding in found:
                if finding.id is not None and finding.stage is not None:
                    claim = await store.claim(finding.stage, finding.id, due_only=False)
                    if claim is not None:  # the right octets are lost, so a person must decide
                        await claim.release()
                        await store.hold(finding.id)
                done[finding] = self._result(finding)
        return done

    def _result(self, finding: DamageFinding) -> str:
        if files.is_there(self._at(finding.name)):
            return "kept"
        if finding.id and files.is_there(self.root / names.envelope(finding.id, Stage.HELD)):
            return "held"
        if finding.stage is not None:
            return "set aside as failed"
        return "finished or taken back"
