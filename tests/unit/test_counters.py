"""Counters of events, over processes that come and go."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")

from emailrelay import logs, runtime_dir
from emailrelay.config import MonitorSettings, Settings
from emailrelay.events.bounces import Bounced
from emailrelay.events.delivery import Deferred, Delivered, Failed
from emailrelay.events.event import Event, Report
from emailrelay.events.filters import FilterVerdict
from emailrelay.events.receiving import MoreTrouble, Received, Rejected, Vanished
from emailrelay.events.service import MonitorTrouble, Stopping
from emailrelay.log_throttle import LogThrottle
from emailrelay.metrics.counters import MOST_SERIES, Counters
from emailrelay.metrics.declared import COUNTERS, HISTOGRAMS
from emailrelay.metrics.exposition import families
from emailrelay.queue_id import QueueId
from emailrelay.service import readers

ID = QueueId("1700000000000.1.1")
RECEIVED = Received(id=ID, sender="a@b", recipients=1, size=300, client="::1", seconds=0.004)


def delivered(route: str) -> Delivered:
    return Delivered(
        id=ID, peer="p", recipients=2, reply="250 ok", seconds=0.1, route=route, in_queue=3.0
    )


def never(event: Event) -> None:
    raise AssertionError(event)


def total(directory: Path, name: str, **labels: str) -> float:
    """Give the sum over all processes of a time series; 0: there is none."""
    return sum(
        sample.value
        for family in families(directory)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )


def in_child(act: Callable[[], object]) -> None:
    """Do something in a forked process, which is then killed as by ``kill -9``."""
    pid = os.fork()
    if pid == 0:
        act()
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def counters(here: Path) -> Iterator[Counters]:
    counters = Counters(here, never)
    yield counters
    counters.close()


def test_a_message_is_counted_with_its_octets_and_the_time_of_its_sync(
    counters: Counters, here: Path
) -> None:
    counters(RECEIVED)
    assert total(here, "emailrelay_messages_received_total") == 1
    assert total(here, "emailrelay_received_bytes_total") == 300
    assert total(here, "emailrelay_sync_seconds_sum") == pytest.approx(0.004)
    assert total(here, "emailrelay_sync_seconds_bucket", le="0.0025") == 0
    assert total(here, "emailrelay_sync_seconds_bucket", le="0.005") == 1


def test_the_counts_of_killed_processes_stay_and_the_next_process_counts_on(
    counters: Counters, here: Path
) -> None:
    counters(RECEIVED)
    for _ in range(5):
        in_child(lambda: [counters(event) for event in (RECEIVED, RECEIVED)])  # type: ignore[func-returns-value]
    counters(RECEIVED)
    assert total(here, "emailrelay_messages_received_total") == 12
    assert (
        len(list((here / "counters").glob("counter_*.db"))) == 2
    )  # parent and one child at a time


def test_a_later_start_of_the_service_counts_on(here: Path) -> None:
    for _ in range(3):
        in_child(lambda: Counters(here, never)(RECEIVED))
    assert total(here, "emailrelay_messages_received_total") == 3
    assert len(list((here / "counters").glob("*.lock"))) == 1


def test_a_message_on_two_routes_counts_for_both(counters: Counters, here: Path) -> None:
    counters(delivered("isp,home"))
    counters(Deferred(id=ID, reason="r", next_attempt=None, route="isp", code=451))
    counters(Failed(id=ID, reason="r", route="home", code=550))
    assert total(here, "emailrelay_messages_delivered_total", route="isp") == 1
    assert total(here, "emailrelay_messages_delivered_total", route="home") == 1
    assert total(here, "emailrelay_messages_deferred_total", route="isp", code="451") == 1
    assert total(here, "emailrelay_messages_failed_total", route="home", code="550") == 1
    assert total(here, "emailrelay_time_in_queue_seconds_bucket", le="5.0") == 1


def test_a_notice_of_failure_is_counted(counters: Counters, here: Path) -> None:
    counters(Bounced(id=ID, notice=ID, to=("a@b",)))
    assert total(here, "emailrelay_messages_bounced_total") == 1


def test_refusals_that_the_log_only_sums_up_are_counted_by_their_code(
    counters: Counters, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[Event]()

    def opened(_directory: Path, _log: Report) -> Counters:
        return counters

    def log(_settings: Settings) -> LogThrottle:
        return LogThrottle(told.append, lambda: 1000.0, lambda _seconds, _act: None)

    monkeypatch.setattr(logs, "reporter", log)
    monkeypatch.setattr("emailrelay.metrics.counters.Counters", opened)
    report = readers.reporter(MonitorSettings(runtime_dir=here))
    for _ in range(60):
        report(Rejected(command="RCPT", reply="550 5.1.1 no", client="::1"))
    report(Stopping(service="receiver"))
    assert [type(event) for event in told] == [*[Rejected] * 20, MoreTrouble, Stopping]
    assert total(here, "emailrelay_rejected_total", code="550") == 60


def test_time_series_are_bounded_and_none_is_lost(counters: Counters, here: Path) -> None:
    for number in range(3 * MOST_SERIES):
        counters(FilterVerdict(id=ID, filter=f"/bin/filter {number}", verdict="accept"))
    found = [
        sample
        for family in families(here)
        for sample in family.samples
        if sample.name == "emailrelay_messages_filtered_total"
    ]
    assert len(found) <= MOST_SERIES + 1
    assert sum(sample.value for sample in found) == 3 * MOST_SERIES


def test_the_longest_series_fit_into_the_files_as_they_are_made(
    counters: Counters, here: Path
) -> None:
    for number in range(MOST_SERIES):
        counters(FilterVerdict(id=ID, filter=f"/usr/local/{'x' * 200}{number}", verdict="accept"))
        route = f"{'r' * 60}{number:03}"
        counters(Deferred(id=ID, reason="", next_attempt=None, route=route, code=451))
        counters(Failed(id=ID, reason="", route=route, code=550))
        counters(delivered(route))
        counters(Rejected(command="RCPT", reply=f"{500 + number} no", client="::1"))
    sizes = {path.stat().st_size for path in (here / "counters").glob("counter_*.db")}
    assert sizes == {256 * 1024}


def test_an_event_without_a_metric_costs_no_file(counters: Counters, here: Path) -> None:
    counters(Vanished(client="::1"))
    assert not here.exists()


@pytest.mark.parametrize("kind", ["link", "for all", "file"])
def test_an_unsafe_directory_is_reported_once_and_nothing_is_counted(
    here: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "link":
        (tmp_path / "real").mkdir()
        here.symlink_to(tmp_path / "real")
    elif kind == "file":
        here.touch()
    else:
        here.mkdir()
        here.chmod(0o777)
    told = list[Event]()
    counters = Counters(here, told.append)
    for _ in range(3):
        counters(RECEIVED)
    (trouble,) = told
    assert isinstance(trouble, MonitorTrouble)
    assert str(here) in trouble.reason
    assert "runtime_dir" in trouble.reason


# The library leaves the damaged file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_file_stops_the_counters_and_not_the_mail(here: Path) -> None:
    counters = runtime_dir.part_of(here, runtime_dir.COUNTERS)
    damage = b"\xff\xff\x00\x00" + b"\xff\xff\xff\x7f" * 10
    (counters / "counter_0.db").write_bytes(damage)
    told = list[Event]()
    broken = Counters(here, told.append)
    broken(RECEIVED)
    broken(RECEIVED)
    assert [type(event) for event in told] == [MonitorTrouble]
    broken.close()
    Counters(here, never)(RECEIVED)  # the next start has a file without damage
    assert total(here, "emailrelay_messages_received_total") == 1


def test_files_are_for_owner_and_group_only(counters: Counters, here: Path) -> None:
    counters(RECEIVED)
    for path in (here, *here.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO, path


def test_each_metric_has_one_description_and_one_set_of_labels() -> None:
    described = {(rule.name, rule.help, rule.labels) for rule in COUNTERS}
    names = {rule.name for rule in COUNTERS} | {rule.name for rule in HISTOGRAMS}
    assert len(names) == len(described) + len(HISTOGRAMS)


def test_the_events_of_a_relayed_message_are_counted_with_few_calls(counters: Counters) -> None:
    events = RECEIVED, delivered("isp")
    for event in events:
        counters(event)  # opens the files
    calls = 0

    def count(_frame: object, kind: str, _about: object) -> None:
        nonlocal calls
        calls += kind in {"call", "c_call"}

    sys.setprofile(count)
    try:
        for event in events:
            counters(event)
    finally:
        sys.setprofile(None)
    assert 0 < calls <= 75, "the share of the CPU was measured with 60: bench/RESULTS.md"
