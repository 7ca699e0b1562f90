"""The description of one message."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_journal import ENTRIES

from emailrelay import journal
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, Entry
from emailrelay.queue.describe import description
from emailrelay.queue.journal_words import journal_words
from emailrelay.queue.row import row
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.queue_view import Listed, QueueEntry


def test_cost_grows_with_the_recipients_and_not_with_their_square() -> None:
    addresses = tuple(Address(f"{number}@example.com") for number in range(100_000))
    envelope = Envelope(sender=Address("a@example.org"), to_remote=addresses)
    delivered = dict.fromkeys(addresses[:50_000], Reply(250, "taken"))
    entries = (
        Accepted(at=1.0, stage=Stage.READY, length=1, crc32=0),
        Attempt(at=2.0, peer="mail.example.com:25", replies=delivered),
    )
    listed = Listed(id=QueueId("1.2.3"), stage=Stage.READY, since=1.0, size=1)
    told = row(QueueEntry(listed, envelope, entries), 3.0)
    lines = list(description(told, envelope, entries, [], 3.0, width=None))
    assert sum(": delivered (250 taken)" in line for line in lines) == 50_000
    assert sum(line.endswith(": pending") for line in lines) == 50_000


@given(st.lists(ENTRIES, max_size=12))
def test_tries_are_numbered_as_the_history_counts_them(entries: list[Entry]) -> None:
    for place, (entry, words) in enumerate(journal_words(entries)):
        if isinstance(entry, Attempt) and entry.tries == 1:
            number = journal.read(entries[: place + 1]).attempts
            assert words.sentence.split(" with ")[0] == f"try {number}"
