"""The gauges, from the status files and the latest count of the queue: a plain rule."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from emailrelay.metrics import gauges
from emailrelay.metrics.gauges import Gauge, GaugeRule
from emailrelay.process_state import AccountState, ProcessState
from emailrelay.service_health import Found, HealthAnswer, Question, does_its_job, works
from emailrelay.stage import Stage
from emailrelay.terminal.output import counted
from emailrelay_monitor.queue_counts import QueueCount


def measured(
    services: Mapping[str, Found], queue: QueueCount, *, version: str, now: float, clock: float
) -> list[Gauge]:
    """Return all gauges. ``now`` is on the monotonic clock, ``clock`` in seconds since 1970."""
    states = {
        name: [each.state for each in found.processes]
        for name, found in services.items()
        if not isinstance(found, str) and works(found, now).well
    }
    everyone = [state for each in states.values() for state in each]
    return [
        Gauge(gauges.BUILD, [((version,), 1.0)]),
        _health_gauge(gauges.SERVICE_UP, services, works, now),
        _health_gauge(gauges.SERVICE_READY, services, does_its_job, now),
        Gauge(gauges.PROCESSES, [((name,), len(each)) for name, each in states.items()]),
        Gauge(
            gauges.SESSIONS,
            [((name,), sum(one.sessions for one in each)) for name, each in states.items()],
        ),
        Gauge(gauges.ROUTE_UP, [((name,), up) for name, up in _routes(everyone).items()]),
        *_accounts(everyone, clock),
        *_queue(queue, now=now, clock=clock),
    ]


def store_health(queue: QueueCount) -> HealthAnswer:
    """Judge whether the store can be read."""
    if queue.trouble:
        return HealthAnswer(well=False, reason=queue.trouble)
    messages = sum(count.messages for count in queue.counts)
    return HealthAnswer(well=True, reason=counted(messages, "message"))


def _health_gauge(
    rule: GaugeRule, services: Mapping[str, Found], question: Question, now: float
) -> Gauge:
    return Gauge(
        rule, [((name,), float(question(found, now).well)) for name, found in services.items()]
    )


def _routes(states: Sequence[ProcessState]) -> dict[str, float]:
    """Return 0 for each route that is down for some process, else 1."""
    found = dict[str, float]()
    for state in states:
        for name, trouble in state.routes.items():
            found[name] = min(found.get(name, 1.0), 0.0 if trouble else 1.0)
    return found


def _accounts(states: Sequence[ProcessState], clock: float) -> Iterator[Gauge]:
    """Each process knows the token that it used last; the latest one counts."""
    found = dict[str, AccountState]()
    for state in states:
        for name, each in state.accounts.items():
            before = found.get(name)
            if before is None or (each.until or 0.0) > (before.until or 0.0):
                found[name] = each
    yield Gauge(
        gauges.TOKEN_EXPIRY,
        [((name,), each.until - clock) for name, each in found.items() if each.until is not None],
    )
    yield Gauge(
        gauges.SIGN_IN_UP, [((name,), float(not each.trouble)) for name, each in found.items()]
    )


def _queue(queue: QueueCount, *, now: float, clock: float) -> Iterator[Gauge]:
    yield Gauge(gauges.STORE_UP, [((), float(not queue.trouble))])
    if queue.trouble:
        return
    numbers, ages = Counter[Stage](), dict.fromkeys(Stage, 0.0)
    for count in queue.counts:
        numbers[count.stage] += count.messages
        ages[count.stage] = max(ages[count.stage], clock - count.oldest)
    yield Gauge(gauges.QUEUE, [((stage.value,), numbers[stage]) for stage in Stage])
    yield Gauge(gauges.OLDEST, [((stage.value,), age) for stage, age in ages.items()])
    yield Gauge(gauges.COUNT_AGE, [((), now - queue.at)])
    if queue.free is not None:
        yield Gauge(gauges.FREE, [((), float(queue.free))])
