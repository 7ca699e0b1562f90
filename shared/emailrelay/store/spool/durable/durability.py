"""Makes commits and settlements durable: as synced files, or as records in the log.

New mail takes the way that was chosen when the spool was opened. Settlements go into the log while
any process has one: replay would undo a settlement that only the files show.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ClassVar, NamedTuple

from emailrelay.queue_id import QueueId
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import file_octets
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable.draft_files import DraftFiles
from emailrelay.store.spool.durable.jobs import Finish, NotRecorded, raise_error
from emailrelay.store.spool.durable.log import LARGEST_CONTENT, Log
from emailrelay.store.spool.durable.records import Gone, Noted, Taken
from emailrelay.store.spool.durable.syncer import Syncer


class Result(NamedTuple):
    """What filters made of a message: two open files in a directory of their own."""

    id: QueueId
    stage: Stage
    """Where the message is to stand."""
    directory: Directory
    content: int
    length: int
    """Octets of the content."""
    octets: bytes | None
    """Those of the content, if they are in memory."""
    envelope: int
    envelope_octets: bytes

    def taken(self) -> Taken:
        """Return the record of it for the log.

        Raises:
            OSError: the content cannot be read.

        """
        content = self.octets
        if content is None:
            content = file_octets.read_whole(self.content, self.length)
        return Taken(self.id, self.stage, self.envelope_octets, content)


class Durability(ABC):
    """One way to put commits and settlements on stable storage.

    Guarantee: after a method has returned, its result survives a power cut.
    Guarantee: ``finish`` and ``remove`` are called exactly once, with the error if there was one,
    also if the caller is cancelled. A method that takes one of them raises what that raises.

    Each method that does not say otherwise raises OSError if the disk refuses.
    """

    records: ClassVar[bool]
    """True: commits and removals wait for records of them. False: removals are made at once."""

    @abstractmethod
    def for_content(self, length: int) -> "Durability":
        """Return the way for a new message with ``length`` octets of content."""

    @abstractmethod
    def check(self, root: Directory) -> None:
        """Refuse a commit in a spool that was moved or replaced; call it before the renames.

        Raises:
            OSError: the path of ``root`` leads elsewhere.

        """

    @abstractmethod
    def commit(
        self, draft: DraftFiles, stage: Stage, finish: Finish, *, blocks: bool = False
    ) -> Awaitable[None]:
        """Commit a sealed draft, then call ``finish``, which makes it visible at ``stage``.

        ``finish`` is called in the loop, or in a thread if it ``blocks``.
        """

    @abstractmethod
    def forget(self, message: QueueId, *, wait: bool = True) -> None:
        """Note that a message is gone, before its files are removed without a sync.

        It lasts as long as the removal. Without ``wait`` nothing is noted if another process or
        thread writes. Raises nothing.
        """

    @abstractmethod
    async def remove(self, message: QueueId, remove: Finish) -> None:
        """Record that a message is gone, then call ``remove`` in the loop, which removes its files.

        It is durable after ``removed``.
        """

    @abstractmethod
    async def removed(self, root: Directory, closing: Sequence[int]) -> None:
        """Make a removal durable, and close the removed files, also after an error."""

    @abstractmethod
    async def keep(
        self, message: QueueId, stage: Stage, envelope: int, finish: Finish = raise_error
    ) -> None:
        """Make durable what was appended to an open envelope; then call ``finish``, in the loop.

        Its message is at ``stage``, or ``finish`` moves it there.
        """

    @abstractmethod
    def keep_now(self, message: QueueId, stage: Stage, envelope: int) -> None:
        """Do as ``keep``. Blocks."""

    @abstractmethod
    def replacing(
        self, message: QueueId, stage: Stage, envelope: bytes
    ) -> AbstractContextManager[None]:
        """Return the block in which a synced file with these octets replaces an envelope."""

    @abstractmethod
    async def adopt(
        self,
        result: Result,
        places: Sequence[Directory],
        name: Callable[[], None],
        show: Callable[[], None],
    ) -> None:
        """Make a result the message.

        ``name`` renames its directory, in the first of the ``places``, to the name by which any
        process completes the adoption. ``show`` moves the files into the second. Both are called in
        the loop, each once at most and in this order. A cancelled caller cannot tell how far it
        came.

        Raises:
            NotRecorded: it will not be the message.
            OSError: it may be, now or after a power cut.

        """


class FileDurability(Durability):
    """Each file is synced, and the directory that has its name."""

    records = False

    def __init__(self, syncer: Syncer) -> None:
        self._syncer = syncer

    def for_content(self, length: int) -> Durability:  # noqa: ARG002 - one way for all lengths
        """See ``Durability.for_content``."""
        return self

    def check(self, root: Directory) -> None:
        """See ``Durability.check``."""
        root.check()

    def commit(
        self,
        draft: DraftFiles,
        stage: Stage,  # noqa: ARG002 - the envelope has it
        finish: Finish,
        *,
        blocks: bool = False,
    ) -> Awaitable[None]:
        """See ``Durability.commit``."""
        open_files = (draft.content, draft.envelope)
        # Should the directory be another one since, a draft in the old one is refused.
        device = draft.directory.device
        return self._syncer.run(
            open_files, (draft.directory,), finish, blocks=blocks, device=device, urgent=True
        )

    def forget(self, message: QueueId, *, wait: bool = True) -> None:
        """See ``Durability.forget``. The removal says it."""

    async def remove(self, message: QueueId, remove: Finish) -> None:  # noqa: ARG002 - see removed
        """See ``Durability.remove``."""
        remove(None)

    async def removed(self, root: Directory, closing: Sequence[int]) -> None:
        """See ``Durability.removed``."""
        await self._syncer.run((), (root,), closing=closing)

    async def keep(
        self,
        message: QueueId,  # noqa: ARG002 - the envelope has all
        stage: Stage,  # noqa: ARG002
        envelope: int,
        finish: Finish = raise_error,
    ) -> None:
        """See ``Durability.keep``."""
        await self._syncer.run((envelope,), (), finish)

    def keep_now(self, message: QueueId, stage: Stage, envelope: int) -> None:  # noqa: ARG002
        """See ``Durability.keep_now``."""
        file_octets.sync_data(envelope)

    def replacing(
        self,
        message: QueueId,  # noqa: ARG002 - the new file was synced by its maker
        stage: Stage,  # noqa: ARG002
        envelope: bytes,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """See ``Durability.replacing``."""
        return nullcontext()

    async def adopt(
        self,
        result: Result,
        places: Sequence[Directory],
        name: Callable[[], None],
        show: Callable[[], None],
    ) -> None:
        """See ``Durability.adopt``."""
        above, root = places
        try:
            await self._syncer.run((result.content, result.envelope), (result.directory,))
        except OSError as error:
            raise NotRecorded.because(error) from error
        name()
        await self._syncer.run((), (above,))
        show()
        await self._syncer.run((), (root,))


class LogDurability(Durability):
    """Each commit and settlement is a record in the log; the messages' files are not synced."""

    records = True

    def __init__(self, syncer: Syncer, log: Log, as_files: FileDurability) -> None:
        self._syncer, self._log, self._as_files = syncer, log, as_files

    def for_content(self, length: int) -> Durability:
        """See ``Durability.for_content``. A large content would be written twice."""
        return self if length <= LARGEST_CONTENT else self._as_files

    def check(self, root: Directory) -> None:
        """See ``Durability.check``. The sync of the log has looked for the log by its path."""

    def commit(
        self,
        draft: DraftFiles,
        stage: Stage,
        finish: Finish,
        *,
        blocks: bool = False,  # noqa: ARG002 - a small content has nothing to wait for
    ) -> Awaitable[None]:
        """See ``Durability.commit``."""
        return self._syncer.log(partial(draft.taken, stage), finish, urgent=True)

    def forget(self, message: QueueId, *, wait: bool = True) -> None:
        """See ``Durability.forget``."""
        self._log.forget(message, wait=wait)

    async def remove(self, message: QueueId, remove: Finish) -> None:
        """See ``Durability.remove``. The record comes first: replay must not undo a removal."""
        await self._syncer.log(lambda: Gone(message), remove)

    async def removed(self, root: Directory, closing: Sequence[int]) -> None:  # noqa: ARG002
        """See ``Durability.removed``."""
        if closing:
            await self._syncer.close_files(closing)

    async def keep(
        self, message: QueueId, stage: Stage, envelope: int, finish: Finish = raise_error
    ) -> None:
        """See ``Durability.keep``."""
        try:
            noted = Noted(message, stage, file_octets.read_all(envelope))
        except OSError as error:
            finish(error)
            raise
        await self._syncer.log(lambda: noted, finish)

    def keep_now(self, message: QueueId, stage: Stage, envelope: int) -> None:
        """See ``Durability.keep_now``."""
        with self._log.durable((Noted(message, stage, file_octets.read_all(envelope)),)):
            pass

    def replacing(
        self, message: QueueId, stage: Stage, envelope: bytes
    ) -> AbstractContextManager[None]:
        """See ``Durability.replacing``. Without the record, replay would restore the old file."""
        return self._log.durable((Noted(message, stage, envelope),))

    async def adopt(
        self,
        result: Result,
        places: Sequence[Directory],  # noqa: ARG002 - the record has all
        name: Callable[[], None],
        show: Callable[[], None],
    ) -> None:
        """See ``Durability.adopt``. The name is for processes that find the result after a kill."""

        def finish(error: OSError | None) -> None:
            raise_error(error)
            name()
            show()

        await self._syncer.log(result.taken, finish)


class SpoolDurability:
    """Both ways of one opened spool, and the choice between them."""

    def __init__(self, syncer: Syncer, log: Log, sync: SpoolSync) -> None:
        self._log = log
        self._as_files = FileDurability(syncer)
        self._in_log = LogDurability(syncer, log, self._as_files)
        self._without_log = -math.inf
        """When the spool had no log at the last look that found none."""
        self.new_mail: Durability = self._in_log if sync is SpoolSync.LOG else self._as_files
        """The way of commits, whatever other processes do."""

    def settlements(self, claimed: float = math.inf) -> Durability:
        """Return the way of settlements: the log while any process has one, else files.

        ``claimed``: when the message was claimed (``time.monotonic``). If there was no log after
        that, no log has a record of this message, and there is no need to look again.
        """
        if claimed < self._without_log:
            return self._as_files
        now = time.monotonic()
        if self._log.in_use():
            return self._in_log
        self._without_log = now
        return self._as_files
