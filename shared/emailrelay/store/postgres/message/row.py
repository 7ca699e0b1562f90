"""A message as its row has it, and the ids of rows."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast
from uuid import UUID

from emailrelay import envelope_format, journal, journal_format
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.journal import AdministratorWish, Entry, History, Wished
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import from_uuid, uuid_of
from emailrelay.stage import Stage

COLUMNS = (
    "m.id, m.stage, m.lease_token, m.wish, m.doubt, m.size, m.envelope, m.journal,"
    " extract(epoch from m.run_at)::float8"
)


class Row(NamedTuple):
    """A message's row."""

    uuid: UUID
    stage: Stage
    token: int
    wish: AdministratorWish | None
    doubt: str | None
    size: int
    head: bytes
    """The envelope, as an envelope file begins."""
    journal: bytes
    """The lines after it."""
    run_at: float

    @property
    def id(self) -> QueueId:
        """Return the queue id."""
        return from_uuid(self.uuid)

    def envelope(self) -> Envelope:
        """Parse the envelope.

        Raises:
            DamagedMessage: it is none.

        """
        return envelope_format.parse(self.head).envelope

    def entries(self) -> list[Entry]:
        """Parse the journal; a wish that waits is its last entry."""
        entries = journal_format.parse(self.journal)
        return entries if self.wish is None else [*entries, Wished(at=0.0, wish=self.wish)]

    def history(self) -> History:
        """Fold the journal."""
        return journal.read(self.entries())


def read(found: Sequence[object]) -> Row:
    """Make a row of the values of ``COLUMNS``."""
    uuid, stage, token, wish, doubt, size, head, lines, run_at = found
    return Row(
        uuid=cast("UUID", uuid),
        stage=Stage(str(stage)),
        token=cast("int", token),
        wish=wish_of(wish),
        doubt=None if doubt is None else str(doubt),
        size=cast("int", size),
        head=cast("bytes", head),
        journal=cast("bytes", lines),
        run_at=cast("float", run_at),
    )


def wish_of(found: object) -> AdministratorWish | None:
    """Return the wish of a column; one of a later release counts as none."""
    try:
        return None if found is None else AdministratorWish(str(found))
    except ValueError:
        return None


def new_uuid(message: QueueId) -> UUID:
    """Return the id of a new row for a message.

    Raises:
        StoreError: no row can have this id.

    """
    uuid = uuid_of(message)
    if uuid is None:
        raise StoreError(
            f"take {message} into the database",
            "its id is another program's; rename both of its files, with an id as this relay gives"
            " them, such as 1700000000000.1.1",
        )
    return uuid


def lines(entries: Iterable[Entry]) -> bytes:
    """Return entries as lines of the journal."""
    return b"".join(map(journal_format.write, entries))
