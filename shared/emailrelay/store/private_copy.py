"""The private copy of a message that a store without a directory makes for filter programs."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from emailrelay import envelope_format, journal, journal_format, message_id
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError, as_store_error
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.claim import WorkCopy

_NEW_STAGES = {".envelope": Stage.READY, ".envelope.filter": Stage.UNFILTERED}
_DIGEST = "sha256"


class PrivateCopy:
    """Two files in a directory of their own, mode 0700, until ``discard``.

    The content is written and read in chunks of at most ``CHUNK`` octets, never as a whole.
    """

    def __init__(
        self, message: QueueId, suffix: str, envelope: Envelope, entries: Iterable[journal.Entry]
    ) -> None:
        self._octets = envelope_format.write(envelope) + b"".join(
            map(journal_format.write, entries)
        )
        self._size, self._copied = 0, hashlib.new(_DIGEST)
        with as_store_error("making a work copy"):
            self._directory = Path(tempfile.mkdtemp(prefix="emailrelay-"))
        name = self._directory / f"emailrelay.{message}"
        self.paths = WorkCopy(f"{name}.content", f"{name}.envelope.{suffix}")
        self._append(self.paths.content, b"")
        self._append(self.paths.envelope, self._octets)

    def write(self, chunk: bytes) -> None:
        """Append to the content.

        Raises:
            StoreError: no room; the copy is discarded.

        """
        self._size += len(chunk)
        self._copied.update(chunk)
        self._append(self.paths.content, chunk)

    def _append(self, path: Path, octets: bytes) -> None:
        try:
            path.touch(mode=0o600)
            with path.open("ab") as file:
                file.write(octets)
        except OSError as error:
            self.discard()
            raise StoreError("making a work copy", error) from error

    def changed(self) -> bool:
        """Return whether either file differs from what was copied."""
        try:
            with self.paths.content.open("rb") as content:
                digest = hashlib.file_digest(content, _DIGEST).digest()
            return (
                digest != self._copied.digest() or self.paths.envelope.read_bytes() != self._octets
            )
        except OSError:
            return True

    def result(self) -> Envelope:
        """Read the envelope after the programs; ``read_content`` reads the content.

        Raises:
            StoreError: there is no message to adopt.

        """
        envelope = read_envelope(self.paths)
        try:
            empty = self.paths.content.stat().st_size == 0
        except OSError as error:
            raise StoreError("adopting a filtered message", error) from error
        if empty and self._size:
            raise StoreError("adopting a filtered message", "the content is empty")
        return envelope

    def new_pairs(self) -> Iterator[tuple[Stage, WorkCopy]]:
        """Yield the pairs that programs put beside the copy, each with the stage in its name."""
        for content in sorted(self._directory.glob("*.content")):
            for ending, stage in _NEW_STAGES.items():
                envelope = content.with_name(content.stem + ending)
                if _is_regular(envelope) and envelope != self.paths.envelope:
                    yield stage, WorkCopy(str(content), str(envelope))

    def discard(self) -> None:
        """Remove the directory with all its files."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def read_envelope(pair: WorkCopy) -> Envelope:
    """Read the envelope that a program wrote, with the Message-ID of the content.

    Raises:
        StoreError: it is damaged, or not there.

    """
    try:
        envelope = envelope_format.parse(pair.envelope.read_bytes()).envelope
        with pair.content.open("rb") as content:
            beginning = content.read(message_id.BEGINNING)
    except (OSError, DamagedMessage) as error:
        raise StoreError(f"reading {pair.envelope.name}", str(error)) from error
    return envelope._replace(message_id=message_id.of_content(beginning))


def read_content(pair: WorkCopy) -> Iterator[bytes]:
    """Read the content that a program wrote, in chunks of at most ``CHUNK`` octets.

    Raises:
        StoreError: it is not there, or cannot be read.

    """
    try:
        with pair.content.open("rb") as content:
            while chunk := content.read(CHUNK):
                yield chunk
    except OSError as error:
        raise StoreError(f"reading {pair.content.name}", str(error)) from error
