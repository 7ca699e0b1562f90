"""Metrics and health of real services that deliver mail, as Prometheus and health checks see them.

The services and Prometheus are started once for the whole module, and in order: first all is well.
"""

import json
import re
import shutil
import signal
import smtplib
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.relay import HANG, ROOT, Relay, Service, Sink, free_port, until

pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "emailrelay.yml"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed (Debian: prometheus)"
)
_NAME = re.compile(r"emailrelay_[a-z_]+")


def ask(port: int, path: str) -> tuple[int, str]:
    """Give the status and the text of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=HANG) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@dataclass
class Host:
    """Services with a monitor."""

    relay: Relay
    sink: Sink
    receiver: Service
    forwarder: Service
    monitor: Service

    def health(self, page: str) -> tuple[int, dict[str, Any]]:
        status, text = ask(self.monitor.port, page)
        return status, json.loads(text)

    def send(self, messages: int) -> None:
        with smtplib.SMTP("127.0.0.1", self.receiver.port, timeout=HANG) as client:
            for _ in range(messages):
                client.sendmail("a@x.test", ["b@y.test"], "Subject: x\r\n\r\nx\r\n")

    def value(self, series: str) -> float:
        """Give the value of a time series as exposed; 0: there is none."""
        _, text = ask(self.monitor.port, "/metrics")
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(series)]
        return sum(map(float, found))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    directory = tmp_path_factory.mktemp("host")
    told = ("--runtime-dir", str(directory / "run"))
    relay = Relay(directory)
    sink = relay.sink().start()
    receiver, filterd = (
        relay.receiver(*told, "--filter", "exit:0"),
        relay.filterd(*told, "--filter", "exit:0"),
    )
    forwarder = relay.forwarder(sink.port, *told, "--workers", "2")
    monitor = relay.monitor(*told)
    try:
        for service in (receiver, filterd, forwarder, monitor):
            service.start()
        yield Host(relay, sink, receiver, forwarder, monitor)
    finally:
        relay.clear_away()
        relay.show()
    assert not relay.faults()


@pytest.fixture(scope="module")
def prometheus(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Prometheus that scrapes the host and has our alerts; give its port."""
    directory, port = tmp_path_factory.mktemp("prometheus"), free_port()
    settings = directory / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{RULES}']\n"
        "scrape_configs:\n"
        "  - job_name: emailrelay\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{host.monitor.port}']}}]\n"
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={settings}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(HANG)


def query(port: int, expression: str) -> list[dict[str, Any]]:
    """Ask Prometheus; give the samples, or none while it starts."""
    asked = urllib.parse.urlencode({"query": expression})
    try:
        status, text = ask(port, f"/api/v1/query?{asked}")
    except OSError:
        return []
    if status != 200:
        return []
    found: list[dict[str, Any]] = json.loads(text)["data"]["result"]
    return found


def test_a_host_whose_services_work_is_alive_and_ready(host: Host) -> None:
    until(lambda: host.health("/readyz")[0] == 200, "all services are ready")
    status, told = host.health("/healthz")
    assert (status, told["ok"]) == (200, True)
    assert set(told["services"]) == {"receiver", "filterd", "forwarder"}
    assert f"127.0.0.1:{host.receiver.port}" in told["services"]["receiver"]["reason"]
    assert f"delivering to {host.sink.address}" in told["services"]["forwarder"]["reason"]
    assert host.health("/readyz/receiver")[0] == 200


@needs_prometheus
def test_prometheus_gets_the_sum_over_all_processes(host: Host, prometheus: int) -> None:
    host.send(7)
    host.sink.wait_for(7)
    host.relay.drained()
    until(
        lambda: query(prometheus, "sum(emailrelay_messages_delivered_total) == 7"),
        "Prometheus has counted all deliveries",
    )
    for expression in (
        "emailrelay_messages_received_total == 7",
        'emailrelay_messages_filtered_total{filter="exit:0", verdict="accept"} == 7',
        'emailrelay_messages_delivered_total{route="default"} == 7',
        "emailrelay_delivery_seconds_count == 7",
        "emailrelay_time_in_queue_seconds_count == 7",
        "emailrelay_sync_seconds_count == 7",
        'emailrelay_queue_messages{state="ready"} == 0',
        'emailrelay_processes{service="forwarder"} == 3',
        'emailrelay_route_up{route="default"} == 1',
        "emailrelay_store_free_bytes > 0",
        'up{job="emailrelay"} == 1',
    ):
        assert until(lambda asked=expression: query(prometheus, asked), expression)  # type: ignore[misc]


@needs_prometheus
def test_prometheus_understands_every_query_of_the_dashboard(prometheus: int) -> None:
    until(lambda: query(prometheus, "emailrelay_build_info"), "Prometheus has scraped the host")
    text = (DEPLOY / "grafana" / "emailrelay.json").read_text()
    panels = json.loads(text)["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(asked) > 20
    for expression in asked:
        said = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        encoded = urllib.parse.urlencode({"query": said})
        status, answer = ask(prometheus, f"/api/v1/query?{encoded}")
        assert (status, json.loads(answer)["status"]) == (200, "success"), said


def test_dashboard_and_alerts_use_only_metrics_that_there_are(host: Host) -> None:
    from emailrelay.metrics import declared, gauges  # noqa: PLC0415 -- after the skip above

    known = {rule.name for rule in gauges.GAUGES}
    known |= {f"{rule.name}_total" for rule in declared.COUNTERS}
    known |= {f"{rule.name}_bucket" for rule in declared.HISTOGRAMS}
    panels = json.loads((DEPLOY / "grafana" / "emailrelay.json").read_text())["panels"]
    used = {name for p in panels for t in p["targets"] for name in _NAME.findall(t["expr"])}
    rules = RULES.read_text()
    used |= set(_NAME.findall(rules))
    assert used <= known
    assert host.value("emailrelay_build_info") == 1


@needs_promtool
def test_promtool_finds_no_fault_in_the_metrics(host: Host) -> None:
    host.send(1)
    _, text = ask(host.monitor.port, "/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_promtool
@pytest.mark.parametrize("command", [("check", RULES), ("test", RULES.with_suffix(".test.yml"))])
def test_promtool_finds_no_fault_in_the_alerts(command: tuple[str, Path]) -> None:
    verb, path = command
    done = subprocess.run(
        ["promtool", verb, "rules", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_counts_of_a_killed_worker_stay(host: Host) -> None:
    series = "emailrelay_messages_delivered_total"
    deaths = 'emailrelay_worker_deaths_total{service="forwarder"}'

    def all_counted() -> bool:
        host.relay.drained()
        return host.value(series) == len(host.sink.arrivals())

    host.send(1)  # the tests before may have run in another process
    until(all_counted, "the workers have counted")
    for pid in host.forwarder.workers():
        subprocess.run(["kill", "-9", str(pid)], check=True)
    host.forwarder.hear("worker_died", times=3)
    host.send(2)
    until(all_counted, "the new workers count on")
    assert len(host.sink.arrivals()) >= 3
    until(lambda: host.value(deaths) >= 3, "the deaths are counted")


def test_a_monitor_that_is_killed_stops_no_mail(host: Host) -> None:
    host.relay.drained()
    before = len(host.sink.arrivals())
    host.monitor.kill()
    host.send(3)
    host.sink.wait_for(before + 3)
    host.monitor.start()


def test_a_forwarder_without_a_server_is_alive_but_not_ready(host: Host) -> None:
    host.sink.kill()
    host.send(1)

    def cut_off() -> bool:
        status, told = host.health("/readyz")
        return status == 503 and "no server can be used" in told["services"]["forwarder"]["reason"]

    until(cut_off, "the forwarder is cut off")
    _, told = host.health("/readyz")
    assert told["services"]["forwarder"]["ok"] is False
    assert host.sink.address in told["services"]["forwarder"]["reason"]
    assert told["services"]["receiver"]["ok"] is True
    assert host.health("/healthz")[0] == 200
    assert host.health("/readyz/receiver")[0] == 200
    assert host.value('emailrelay_route_up{route="default"}') == 0
    until(lambda: host.value('emailrelay_queue_messages{state="ready"}') == 1, "it is counted")
    host.sink.start()
    until(lambda: host.health("/readyz")[0] == 200, "the server is back")


def test_a_service_that_is_stopped_is_not_there(host: Host) -> None:
    assert host.receiver.stop() == 0
    status, told = host.health("/healthz")
    assert status == 503
    assert "does not run" in told["services"]["receiver"]["reason"]
    # Metrics are made once a second at most, so the first ones may be from before the stop.
    until(lambda: host.value('emailrelay_service_up{service="receiver"}') == 0, "it is down")
    host.receiver.start()
    until(lambda: host.health("/readyz")[0] == 200, "it is back")
