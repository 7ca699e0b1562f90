"""Declares each counter and histogram with the event that it counts.

No service names a metric: services report events, and the log and the counters both read these.

The values of labels are bounded: names from the settings, codes of replies, and fixed words. An
address or a text of a peer is never a label.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from emailrelay.events.bounces import Bounced
from emailrelay.events.delivery import Deferred, Delivered, DeliveryRefused, Failed
from emailrelay.events.event import Event
from emailrelay.events.filters import FilterVerdict
from emailrelay.events.receiving import (
    LoggedIn,
    LoginFailed,
    Received,
    RecipientChecked,
    RecipientUnchecked,
    Rejected,
)
from emailrelay.events.service import WorkerDied
from emailrelay.events.sessions import TlsHandshake
from emailrelay.events.store import PossibleDuplicate, StoreTrouble

_E = TypeVar("_E", bound=Event)

Labels: TypeAlias = tuple[str, ...]
"""The values of the labels of one time series, in the order of their names."""
Increment: TypeAlias = tuple[Labels, float]

OTHER = "other"
"""Stands for a label that is not told."""
_DISK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DELIVERY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_QUEUE = (0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 432000)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRule:
    """A counter, and its increments for one kind of event. Several kinds may share a counter."""

    event: type[Event]
    name: str
    """Without ``_total``, which Prometheus adds."""
    help: str
    labels: tuple[str, ...]
    increments: Callable[[Any], Iterable[Increment]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramRule:
    """A histogram of seconds, and the value of one kind of event."""

    event: type[Event]
    name: str
    help: str
    buckets: tuple[float, ...]
    seconds: Callable[[Any], float]


def _counter(
    event: type[_E],
    name: str,
    text: str,
    *,
    increments: Callable[[_E], Iterable[Increment]] = lambda _event: (((), 1.0),),
    labels: tuple[str, ...] = (),
) -> CounterRule:
    return CounterRule(event=event, name=name, help=text, labels=labels, increments=increments)


def _histogram(
    event: type[_E],
    name: str,
    text: str,
    *,
    seconds: Callable[[_E], float],
    buckets: tuple[float, ...],
) -> HistogramRule:
    return HistogramRule(event=event, name=name, help=text, buckets=buckets, seconds=seconds)


def _one(*labels: str) -> tuple[Increment]:
    return ((labels, 1.0),)


def _of_route(event: Deferred | DeliveryRefused | Failed) -> list[Increment]:
    code = _code(event.code)
    return [((route, code), 1.0) for route in event.route.split(",")]


def _code(code: int) -> str:
    return str(code) if 200 <= code <= 599 else OTHER


_LOGINS = "Logins of clients."
_CHECKS = "Recipients at RCPT, by the answer of the next server."

COUNTERS: tuple[CounterRule, ...] = (
    _counter(Received, "emailrelay_messages_received", "Messages that clients got 250 for."),
    _counter(
        Received,
        "emailrelay_received_bytes",
        "Octets of content of the messages received.",
        increments=lambda event: (((), float(event.size)),),
    ),
    _counter(
        Rejected,
        "emailrelay_rejected",
        "Commands of clients that got a refusal, by its code.",
        labels=("code",),
        increments=lambda event: _one(_code(int(event.reply[:3] or 0))),
    ),
    _counter(
        LoggedIn,
        "emailrelay_logins",
        _LOGINS,
        labels=("result",),
        increments=lambda _event: _one("success"),
    ),
    _counter(
        LoginFailed,
        "emailrelay_logins",
        _LOGINS,
        labels=("result",),
        increments=lambda _event: _one("failure"),
    ),
    _counter(
        TlsHandshake,
        "emailrelay_tls_handshakes",
        "TLS handshakes, as server with clients and as client with the next servers.",
        labels=("side", "result"),
        increments=lambda event: _one(event.side, event.result),
    ),
    _counter(
        RecipientChecked,
        "emailrelay_recipient_checks",
        _CHECKS,
        labels=("result",),
        increments=lambda event: _one(event.result),
    ),
    _counter(
        RecipientUnchecked,
        "emailrelay_recipient_checks",
        _CHECKS,
        labels=("result",),
        increments=lambda _event: _one("unknown"),
    ),
    _counter(
        FilterVerdict,
        "emailrelay_messages_filtered",
        "Verdicts of filter chains, with the filter that decided.",
        labels=("filter", "verdict"),
        increments=lambda event: _one(event.filter, event.verdict),
    ),
    _counter(
        Delivered,
        "emailrelay_messages_delivered",
        "Messages that a next server accepted for some recipient, once for each route.",
        labels=("route",),
        increments=lambda event: [((route,), 1.0) for route in event.route.split(",")],
    ),
    _counter(
        Deferred,
        "emailrelay_messages_deferred",
        "Attempts after which a message waits, by route and code of the reply.",
        labels=("route", "code"),
        increments=_of_route,
    ),
    _counter(
        DeliveryRefused,
        "emailrelay_deliveries_refused",
        "Refusals sent to clients that waited for a delivery, by route and code of the reply.",
        labels=("route", "code"),
        increments=_of_route,
    ),
    _counter(
        Failed,
        "emailrelay_messages_failed",
        "Messages that the relay gave up, by route and code of the reply.",
        labels=("route", "code"),
        increments=_of_route,
    ),
    _counter(
        Bounced,
        "emailrelay_messages_bounced",
        "Failed messages whose senders were told by a notice.",
    ),
    _counter(
        PossibleDuplicate,
        "emailrelay_possible_duplicates",
        "Messages that a server may get twice.",
    ),
    _counter(
        StoreTrouble,
        "emailrelay_store_errors",
        "Operations of the store that failed and are tried again.",
    ),
    _counter(
        WorkerDied,
        "emailrelay_worker_deaths",
        "Worker processes that ended unexpectedly.",
        labels=("service",),
        increments=lambda event: _one(event.service),
    ),
)

HISTOGRAMS: tuple[HistogramRule, ...] = (
    _histogram(
        Received,
        "emailrelay_sync_seconds",
        "The time that the store took to make a message durable.",
        seconds=lambda event: event.seconds,
        buckets=_DISK,
    ),
    _histogram(
        Delivered,
        "emailrelay_delivery_seconds",
        "The duration of attempts that delivered a message to some recipient.",
        seconds=lambda event: event.seconds,
        buckets=_DELIVERY,
    ),
    _histogram(
        Delivered,
        "emailrelay_time_in_queue_seconds",
        "The time from the arrival of a message to its delivery.",
        seconds=lambda event: event.in_queue,
        buckets=_QUEUE,
    ),
)

COUNTED: frozenset[type[Event]] = frozenset(
    [*(rule.event for rule in COUNTERS), *(rule.event for rule in HISTOGRAMS)]
)
"""The events that change a metric."""
