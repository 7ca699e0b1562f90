"""A search for damage in a spool directory, which changes nothing, and its repair.

Mail comes and goes meanwhile, so a wrong entry is looked at a second time under its present name
before it is called a problem.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

from emailrelay import envelope_format, journal, journal_format
from emailrelay.errors import DamagedMessage, as_store_error, reason_of
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.content_damage import content_damage
from emailrelay.store.spool.disk import file_octets, files, locks, names, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.verification import DamageFinding, Verification

_WORKING = (Stage.UNFILTERED, Stage.READY)


class SpoolVerification(Verification):
    """See ``Verification``. With ``contents``, checksums are compared as well as lengths."""

    def __init__(self, root: Directory, store: Store, *, contents: bool) -> None:
        """Search ``root``, and repair it through ``store``, which has it open."""
        self.messages = 0
        self._root, self._store, self._contents = root, store, contents

    async def listing(self) -> list[str]:
        """See ``Verification.listing``."""
        with as_store_error(f"list {self._root}"):
            found = sorted(files.listed(self._root))
            for directory in (names.DRAFTS, names.WORK):
                # Members of the group of a sticky spool may not look into all of them.
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    inside = sorted(files.listed(self._directory(directory)))
                    found.extend(f"{directory}/{name}" for name in inside)
        return [name for name in found if name not in names.DIRECTORIES]

    def _directory(self, name: str) -> Directory:
        return self._root.below(name, makes=False)

    def _at(self, name: str) -> Location:
        directory, _, base = name.rpartition("/")
        return (self._directory(directory) if directory else self._root) / base

    async def look(self, name: str) -> list[DamageFinding]:
        """See ``Verification.look``."""
        try:
            return list(self._look(name))
        except FileNotFoundError:
            return []  # it has moved on
        except OSError as error:
            return [DamageFinding(name, f"cannot be read: {error.strerror}")]

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
            octets = regular_files.read(self._at(name))
            if octets is None:
                return "no regular file"
            file = envelope_format.parse(octets)
        except (DamagedMessage, OSError) as error:
            return reason_of(error, name)
        history = journal_format.history(file.tail)
        return self._content_damage(message, history)

    def _content_damage(self, message: QueueId, history: journal.History) -> str | None:
        content = regular_files.open_regular(self._root / names.content(message))
        if content is None:
            return "content: missing"
        try:
            size, crc32 = os.fstat(content).st_size, None
            if self._contents and history.crc32 is not None and not history.released:
                _, crc32 = file_octets.measure(content)
            return content_damage(history, size, crc32)
        finally:
            os.close(content)

    def _draft(self, name: str) -> Iterator[DamageFinding]:
        if names.parse(name.rpartition("/")[2]) is None:
            return
        with locks.held(self._at(name)) as lock:
            free = lock is not None
        if free:
            yield DamageFinding(name, "a draft whose writer died")

    def _copy(self, name: str) -> Iterator[DamageFinding]:
        message = QueueId(name.rpartition("/")[2].rpartition(".")[0])
        path = self._root / names.envelope(message, Stage.UNFILTERED)
        with locks.held(path) as lock:
            free = lock is not None
        if free or not files.is_there(path):
            yield DamageFinding(name, "a filters' work copy that no process works on", message)

    def _has_envelope(self, message: QueueId) -> bool:
        present = [*names.envelopes(message), names.busy_envelope(message)]
        return any(files.is_there(self._root / name) for name in present) or files.is_there(
            self._root / f"{names.draft_envelope(message)}.new"
        )

    async def repair(self, found: Sequence[DamageFinding]) -> dict[DamageFinding, str]:
        """See ``Verification.repair``. The opening recovered it; a claim sets damage aside."""
        done: dict[DamageFinding, str] = {}
        for finding in found:
            if finding.id is not None and finding.stage is not None:
                claim = await self._store.claim(finding.stage, finding.id, due_only=False)
                if claim is not None:  # the right octets are lost: the operator decides
                    await claim.release()
                    await self._store.hold(finding.id)
            done[finding] = self._result(finding)
        return done

    def _result(self, finding: DamageFinding) -> str:
        if files.is_there(self._at(finding.name)):
            return "kept"
        if finding.id and files.is_there(self._root / names.envelope(finding.id, Stage.HELD)):
            return "held"
        if finding.stage is not None:
            return "set aside as failed"
        return "finished or taken back"
