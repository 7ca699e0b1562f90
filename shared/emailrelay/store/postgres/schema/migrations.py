"""The tables, as the steps that make and change them.

Expand, then contract: a step may add, and what it adds has a default, so that services of the
version before run on. ``oldest`` says which schema version a service must know to work on the
tables after the step. A step that removes something raises it, one release after the last use.

``Tuned`` has a statement that only PostgreSQL knows, and plain SQL for databases that are
compatible with it. Only the speed differs.
"""

from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True, slots=True)
class Tuned:
    """A statement for PostgreSQL, and what stands in for it elsewhere. None: nothing."""

    tuned: LiteralString
    plain: LiteralString | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step to the tables."""

    version: int
    title: str
    oldest: int
    """Services that know this version, or a later one, work on the tables after the step."""
    statements: tuple[LiteralString | Tuned, ...]


_MESSAGE = """
create table emailrelay.message (
    id uuid primary key,
    stage text not null check (stage in ('unfiltered', 'ready', 'failed', 'held')),
    run_at timestamptz not null,
    lease_until timestamptz,
    lease_token bigint not null default 0,
    lease_holder text not null default '',
    settled_token bigint not null default -1,
    wish text,
    doubt text,
    attempts integer not null default 0,
    size bigint not null,
    crc32 bigint not null,
    envelope bytea not null,
    journal bytea not null
)
"""
_MESSAGE_TUNED = Tuned(
    """
    alter table emailrelay.message set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_delay = 0)
    """
)
# A claim changes no indexed column, so that it costs no index entry (a heap-only tuple).
_DUE = "create index message_due on emailrelay.message (stage, run_at, id)"
_BODY = """
create table emailrelay.body (
    message uuid not null,
    n integer not null,
    octets bytea not null,
    primary key (message, n)
)
"""
_BODY_TUNED = Tuned(
    """
    alter table emailrelay.body
        set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)
    """
)
# Content is compressed badly or not at all, and is read in whole chunks.
_BODY_PLAIN = Tuned("alter table emailrelay.body alter column octets set storage external")
_DRAFT = """
create table emailrelay.draft (
    id uuid primary key,
    lease_until timestamptz not null
)
"""
_AWAITED = """
create table emailrelay.awaited (
    id uuid primary key,
    ack text not null,
    wait_until timestamptz not null,
    dot text not null default '',
    reply text
)
"""
_NOTICE = """
create table emailrelay.notice (
    about uuid primary key,
    id uuid not null,
    local boolean not null,
    envelope bytea not null,
    octets bytea not null
)
"""
_HISTORY = """
create table emailrelay.history (
    id uuid not null,
    ended_at timestamptz not null,
    how text not null default '',
    primary key (id, ended_at)
)
"""
# To drop the table of a day costs no DELETE (``days``).
_HISTORY_OF_DAYS = Tuned(f"{_HISTORY} partition by range (ended_at)", _HISTORY)
_HISTORY_REST = Tuned(
    "create table emailrelay.history_rest partition of emailrelay.history default"
)
_ENTRANCE = """
create table emailrelay.entrance (
    only_row boolean primary key default true check (only_row),
    stage text not null
)
"""
_CLOCK_MARK = """
create table emailrelay.clock_mark (
    only_row boolean primary key default true check (only_row),
    latest timestamptz not null
)
"""
_SLOT = """
create table emailrelay.slot (
    route text not null,
    n integer not null,
    holder uuid not null,
    lease_until timestamptz not null,
    primary key (route, n)
)
"""
_SLOT_WISH = """
create table emailrelay.slot_wish (
    route text not null,
    holder uuid not null,
    wish_until timestamptz not null,
    primary key (route, holder)
)
"""
_RATE = """
create table emailrelay.rate (
    route text primary key,
    messages integer not null,
    seconds double precision not null,
    next integer not null default 0
)
"""
_PERMIT = """
create table emailrelay.permit (
    route text not null,
    n integer not null,
    given_at double precision not null,
    primary key (route, n)
)
"""
_TOKENS = """
create table emailrelay.token (
    name text primary key,
    octets bytea,
    lease_until timestamptz,
    lease_holder uuid
)
"""
_QUEUE = """
create view emailrelay.queue as
select id, stage, run_at, attempts, size, lease_holder, lease_until,
    convert_from(envelope, 'UTF8') as envelope, convert_from(journal, 'UTF8') as journal
from emailrelay.message
"""

_PAST = """
create table emailrelay.past_message (
    id uuid not null,
    ended_at timestamptz not null,
    record text not null
)
"""
_PAST_OF_DAYS = Tuned(f"{_PAST} partition by range (ended_at)", _PAST)
_PAST_REST = Tuned(
    "create table emailrelay.past_message_rest partition of emailrelay.past_message default"
)
_PAST_BY_ID = "create index past_message_id on emailrelay.past_message (id)"
# The rows come in the order of their times, so that an index of ranges is small and enough.
_PAST_BY_TIME = Tuned(
    "create index past_message_ended on emailrelay.past_message using brin (ended_at)",
    "create index past_message_ended on emailrelay.past_message (ended_at)",
)
_HISTORY_BOUNDS = """
create table emailrelay.history_bounds (
    only_row boolean primary key default true check (only_row),
    days integer not null,
    octets bigint not null,
    paused_until timestamptz
)
"""
# Only the rest is swept row by row: it takes all if the services' user does not own the tables.
_HISTORY_BY_TIME = Tuned(
    "create index history_rest_ended on emailrelay.history_rest (ended_at)",
    "create index history_ended on emailrelay.history (ended_at)",
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        version=1,
        title="messages, bodies and what processes share",
        oldest=1,
        statements=(
            _MESSAGE,
            _DUE,
            _MESSAGE_TUNED,
            _BODY,
            _BODY_TUNED,
            _BODY_PLAIN,
            _DRAFT,
            _AWAITED,
            _NOTICE,
            _HISTORY_OF_DAYS,
            _HISTORY_REST,
            _ENTRANCE,
            _CLOCK_MARK,
            _SLOT,
            _SLOT_WISH,
            _RATE,
            _PERMIT,
            _TOKENS,
            _QUEUE,
        ),
    ),
    Migration(
        version=2,
        title="the history: a record of each message that has left",
        oldest=1,
        statements=(
            _PAST_OF_DAYS,
            _PAST_REST,
            _PAST_BY_ID,
            _PAST_BY_TIME,
            _HISTORY_BOUNDS,
        ),
    ),
    Migration(
        version=3,
        title="an index for the sweep of old ids",
        oldest=1,
        statements=(_HISTORY_BY_TIME,),
    ),
)
LATEST = MIGRATIONS[-1].version
