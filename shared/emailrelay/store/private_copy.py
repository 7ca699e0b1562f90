"""The private copy of a message that a store without a directory lends to filter programs."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from emailrelay import envelope_format, journal
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import WorkCopy

_NEW_STAGES = {".envelope": Stage.READY, ".envelope.filter": Stage.UNFILTERED}


class PrivateCopy:
    """Two files in a directory of their own, mode 0700, until ``discard``."""

    def __init__(
        self,
        message: QueueId,
        suffix: str,
        envelope: Envelope,
        entries: Iterable[journal.Entry],
        content: bytes,
    ) -> None:
        octets = envelope_format.write(envelope) + b"".join(map(journal.write, entries))
        self._copied = content, octets
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="emailrelay-"))
        except OSError as error:
            raise StoreError("making a work copy", error) from error
        name = self._directory / f"emailrelay.{message}"
        self.paths = WorkCopy(Path(f"{name}.content"), Path(f"{name}.envelope.{suffix}"))
        try:
            _write(self.paths.content, content)
            _write(self.paths.envelope, octets)
        except OSError as error:
            self.discard()
            raise StoreError("making a work copy", error) from error

    def changed(self) -> bool:
        """Return whether either file differs from what was copied."""
        try:
            return self._copied != (
                self.paths.content.read_bytes(),
                self.paths.envelope.read_bytes(),
            )
        except OSError:
            return True

    def result(self, content: bytes) -> tuple[Envelope, bytes]:
        """Read the message back after the programs; its content was ``content``.

        Raises:
            StoreError: there is no message to adopt.

        """
        left, octets = read_pair(self.paths)
        if content and not octets:
            raise StoreError("adopting a filtered message", "the content is empty")
        return left, octets

    def new_pairs(self) -> Iterator[tuple[Stage, WorkCopy]]:
        """Yield the pairs that programs put beside the copy, each with the stage in its name."""
        for content in sorted(self._directory.glob("*.content")):
            for ending, stage in _NEW_STAGES.items():
                envelope = content.with_name(content.stem + ending)
                if _is_regular(envelope) and envelope != self.paths.envelope:
                    yield stage, WorkCopy(content, envelope)

    def discard(self) -> None:
        """Remove the directory with all its files."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def read_pair(pair: WorkCopy) -> tuple[Envelope, bytes]:
    """Read a message that a program wrote.

    Raises:
        StoreError: it is damaged, or not there.

    """
    try:
        envelope = envelope_format.parse(pair.envelope.read_bytes()).envelope
        return envelope, pair.content.read_bytes()
    except (OSError, DamagedMessage) as error:
        raise StoreError(f"reading {pair.envelope.name}", str(error)) from error


def _write(path: Path, octets: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(octets)
