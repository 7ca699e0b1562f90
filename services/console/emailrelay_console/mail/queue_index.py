"""An index of the queue in memory, so that a page of 100,000 messages costs milliseconds.

It holds what filters and groups need. A page reads the messages that it shows at that moment, and
an action looks at each message again, so an index that is some seconds old does no harm. The
search is that of SQLite, in the standard library.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

from emailrelay.journal import History
from emailrelay.queue.grouping import Grouping, MessageGroup
from emailrelay.queue.reply_group import reply_group
from emailrelay.queue.row import last_reply
from emailrelay.queue.selection import RoutesOf
from emailrelay.queue.state import State
from emailrelay.queue.totals import Totals
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.queue_view import Listed, QueueEntry, arrived
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.where_clause import STATE, STATES, times, where_clause

_AT_ONCE = 1000
"""Rows that are changed at once; a page waits so long at most."""
_SAMPLE, _MANY = 500, 10
_NAMED = 100
"""Recipients of a message that the index knows."""
_LONGEST_TERM = 2000
MOST_GROUPS = 200
UNREAD = "?"
"""The name of the group of messages whose envelopes are not read yet, or cannot be read."""

_TABLE = """
create table message (
    id text primary key, stage text, since real, size integer, arrived real, next real,
    sender integer, domains integer, routes integer, reply integer, unread integer, round integer,
    failed real, recipients text
) without rowid;
create index by_arrival on message (arrived, id);
create index by_stage on message (stage, next, size, arrived);
create index by_reply on message (reply, stage, next, size, arrived);
create index by_unread on message (arrived) where unread;
create table term (n integer primary key, text text unique);
"""
_LISTED = """
insert into message (id, stage, since, size, arrived, next, unread, round)
values (?, ?, ?, ?, ?, ?, 1, ?)
on conflict (id) do update set
    unread = unread or stage <> excluded.stage or since <> excluded.since, stage = excluded.stage,
    since = excluded.since, size = excluded.size, round = excluded.round
"""
_READ = """
update message set arrived = ?, next = ?, sender = ?, domains = ?, routes = ?, reply = ?,
    failed = ?, recipients = ?, unread = 0 where id = ?
"""
_UNUSED = """
delete from term where n not in (
    select sender from message where sender is not null
    union select domains from message where domains is not null
    union select routes from message where routes is not null
    union select reply from message where reply is not null
)
"""
_MOST_UNUSED = 50_000
_COLUMNS = {
    Grouping.REPLY: "reply",
    Grouping.STATE: STATE,
    Grouping.SENDER: "sender",
    Grouping.DOMAIN: "domains",
    Grouping.ROUTE: "routes",
}


class Order(StrEnum):
    """The order of messages."""

    OLDEST = "oldest"
    NEWEST = "newest"
    LARGEST = "largest"


_ORDERS = {
    Order.OLDEST: "arrived, id",
    Order.NEWEST: "arrived desc, id desc",
    Order.LARGEST: "size desc, arrived, id",
}


class IndexTime(StrEnum):
    """A time of a message."""

    ARRIVED = "arrived"
    FAILED = "failed"


class IndexState(NamedTuple):
    """The size of the index, and how much of it is complete."""

    messages: int
    unread: int
    """Messages whose envelopes have not been read yet: filters on addresses do not find them."""


class QueueIndex:
    """See the module. All methods may be called in any thread."""

    def __init__(self, routes_of: RoutesOf) -> None:
        self.routes_of = routes_of
        """Gives the routes of the messages that are read from now on."""
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._database.executescript(_TABLE)
        self._terms = dict[str, int]()
        """The numbers of texts that many messages have."""
        self._round = 0

    def close(self) -> None:
        """Free the memory."""
        with self._lock:
            self._database.close()

    def take_listing(self, listing: Iterable[Listed]) -> None:
        """Take over all messages of a store; those that are not among them leave the index."""
        self._round += 1
        found = iter(listing)
        while part := list(islice(found, _AT_ONCE)):
            self._change_many(_LISTED, (_listed(each, self._round) for each in part))
        self._change("delete from message where round <> ?", (self._round,))
        if len(self._terms) > _MOST_UNUSED + 4 * self.state().messages:
            self._terms = {}
            self._change(_UNUSED, ())

    def take_some(
        self, ids: Collection[QueueId], listing: Sequence[Listed], entries: Iterable[QueueEntry]
    ) -> None:
        """Take over the present state of a few messages; those not in ``listing`` have left."""
        gone = set(ids) - {each.id for each in listing}
        self._change_many("delete from message where id = ?", ((each,) for each in gone))
        self._change_many(_LISTED, (_listed(each, self._round) for each in listing))
        self.take_entries(entries)

    def take_entries(self, entries: Iterable[QueueEntry]) -> None:
        """Take over the envelopes and journals of messages that are listed."""
        self._change_many(_READ, [self._read(entry) for entry in entries])

    def unread(self, most: int) -> list[Listed]:
        """Return the oldest messages whose envelopes have not been read since they changed."""
        sql = "select id, stage, since, size from message where unread order by arrived limit ?"
        return [
            Listed(id=QueueId(id_), stage=Stage(stage), since=since, size=size)
            for id_, stage, since, size in self._rows(sql, (most,))
        ]

    def forget(self, ids: Iterable[QueueId]) -> None:
        """Leave out messages that have left the store."""
        self._change_many("delete from message where id = ?", ((each,) for each in ids))

    def state(self) -> IndexState:
        """Return its state."""
        ((messages,),) = self._rows("select count(*) from message", ())
        ((unread,),) = self._rows("select count(*) from message where unread", ())
        return IndexState(messages, unread)

    def count(self, wanted: PageSelection, now: float) -> int:
        """Return the number of messages that match."""
        where, values = where_clause(wanted, now)
        ((number,),) = self._rows(f"select count(*) from message {where}", values)  # noqa: S608 -- constants
        return int(number)

    def page(
        self, wanted: PageSelection, now: float, *, order: Order, first: int, most: int
    ) -> list[QueueId]:
        """Return the ids of ``most`` matching messages, after the ``first`` ones in this order."""
        where, values = where_clause(wanted, now)
        # SQLite would sort all that match, though the first ones in the order are found at once.
        many = order is not Order.LARGEST and self._are_many(where, values)
        by = "indexed by by_arrival" if many else ""
        sql = (
            f"select id from message {by} {where}"  # noqa: S608 -- constants
            f" order by {_ORDERS[order]} limit :most offset :first"
        )
        found = self._rows(sql, {**values, "most": most, "first": first})
        return [QueueId(each) for (each,) in found]

    def _are_many(self, where: str, values: Mapping[str, object]) -> bool:
        """Tell if at least a few of the oldest messages match."""
        oldest = "select id from message order by arrived, id limit :sample"
        sql = f"select count(*) from (select * from message where id in ({oldest})) {where}"  # noqa: S608 -- constants
        ((number,),) = self._rows(sql, {**values, "sample": _SAMPLE})
        return bool(number >= _MANY)

    def groups(
        self, wanted: PageSelection, by: Grouping, now: float, most: int = MOST_GROUPS
    ) -> list[MessageGroup]:
        """Return the largest groups of the messages that match.

        A message whose pending recipients have several domains or routes counts in each of these.
        """
        where, values = where_clause(wanted, now)
        sql = (
            f"select {_COLUMNS[by]}, count(*), total(size), min(arrived),"  # noqa: S608 -- constants
            f" min(case when {STATE} = 'deferred' then next end) from message {where} group by 1"
        )
        found = dict[str, MessageGroup]()
        for key, messages, octets, oldest, next_attempt in self._rows(sql, values):
            for name in self._group_names(by, key):
                group = found.setdefault(name, MessageGroup(by=by, group=name))
                group.messages += messages
                group.octets += int(octets)
                group.oldest = _least(group.oldest, oldest)
                group.next_attempt = _least(group.next_attempt, next_attempt)
        return sorted(found.values(), key=lambda each: (-each.messages, each.group))[:most]

    def _group_names(self, by: Grouping, key: str | int | None) -> Sequence[str]:
        if key is None:
            return (UNREAD,)
        if by is Grouping.STATE:
            return (str(key),)
        ((text,),) = self._rows("select text from term where n = ?", (key,))
        if by in (Grouping.DOMAIN, Grouping.ROUTE):
            return str(text).split("\n")
        return (str(text) or ("<>" if by is Grouping.SENDER else ""),)

    def totals(self, now: float) -> dict[str, Totals]:
        """Return the totals of each state by its name; ``all`` is the sum."""
        found = {name: Totals() for name in [*(state.value for state in State), "all"]}
        for state, condition in STATES.items():
            sql = f"select count(*), total(size), min(arrived) from message where {condition}"  # noqa: S608 -- constants
            ((messages, octets, oldest),) = self._rows(sql, times(now))
            for name in (state.value, "all") if messages else ():
                found[name].add(messages, int(octets), oldest)
        return found

    def times(self, column: IndexTime, since: float, step: float) -> dict[int, int]:
        """Count messages by a time of theirs, in steps of so many seconds since 1970."""
        sql = (
            f"select cast({column.value} / :step as integer), count(*) from message"  # noqa: S608 -- constants
            f" where {column.value} >= :since group by 1"
        )
        return dict(self._rows(sql, {"since": since, "step": step}))

    def _read(self, entry: QueueEntry) -> tuple[object, ...]:
        listed, envelope = entry.listed, entry.envelope
        if envelope is None:
            reply = self._term(reply_group(entry.problem))
            return (arrived(listed), listed.since, None, None, None, reply, None, "", listed.id)
        history: History = entry.history
        pending = history.pending(envelope)[:_NAMED] or envelope.recipients[:_NAMED]
        named = dict.fromkeys(each.lower() for each in envelope.recipients[:_NAMED])
        return (
            history.accepted_at or arrived(listed),
            history.next_attempt or 0.0,
            self._term(envelope.sender.lower()),
            self._term(_joined({each.rpartition("@")[2].lower() for each in pending})),
            self._term(_joined(self.routes_of(envelope, pending))),
            self._term(reply_group(last_reply(history))),
            None if history.failed is None else history.failed.at,
            f"\n{_joined(named)}\n",
            listed.id,
        )

    def _term(self, text: str) -> int:
        """Return the number of a text that many messages have."""
        safe = _safe(text[:_LONGEST_TERM])
        known = self._terms.get(safe)
        if known is None:
            self._change("insert or ignore into term (text) values (?)", (safe,))
            ((known,),) = self._rows("select n from term where text = ?", (safe,))
            self._terms[safe] = known
        return known

    def _rows(
        self, sql: str, values: Sequence[object] | Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        with self._lock, closing(self._database.execute(sql, values)) as cursor:
            return cursor.fetchall()

    def _change(self, sql: str, values: Sequence[object]) -> None:
        with self._lock:
            self._database.execute(sql, values).close()

    def _change_many(self, sql: str, values: Iterable[Sequence[object]]) -> None:
        with self._lock:
            self._database.execute("begin")
            try:
                self._database.executemany(sql, values).close()
            finally:
                self._database.execute("commit")


def _listed(listed: Listed, round_: int) -> tuple[object, ...]:
    return (
        listed.id,
        listed.stage.value,
        listed.since,
        listed.size,
        arrived(listed),
        listed.since,
        round_,
    )


def _joined(names: Iterable[str]) -> str:
    return _safe("\n".join(sorted(names)))


def _safe(text: str) -> str:
    """Return a text without lone surrogates, which stand for octets that are no UTF-8."""
    return text.encode(errors="replace").decode()


def _least(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)
