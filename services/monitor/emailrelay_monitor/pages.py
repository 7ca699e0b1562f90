"""The pages of the monitor: ``/metrics``, ``/healthz`` and ``/readyz``."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path

from emailrelay.config import version
from emailrelay.metrics.exposition import exposed
from emailrelay.service_health import Question, does_its_job, report, works
from emailrelay.service_statuses import statuses
from emailrelay_monitor.http_server import HttpAnswer
from emailrelay_monitor.measured import measured, store_health
from emailrelay_monitor.queue_counts import QueueCounts

_JSON = "application/json"
_INDEX = b"/metrics\n/healthz\n/readyz\n/healthz/SERVICE\n/readyz/SERVICE\n"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_KEPT = 1.0
"""Seconds for which the same metrics are given again."""


class Pages:
    """Answers requests. All are cheap, also for a client that asks all the time."""

    def __init__(
        self,
        runtime_dir: Path,
        monitored: Sequence[str],
        counts: QueueCounts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._runtime_dir, self._monitored = runtime_dir, monitored
        self._counts, self._clock = counts, clock
        self._made: dict[str, tuple[float, HttpAnswer]] = {}
        self._making = asyncio.Lock()

    async def answer(self, path: str, accept: str) -> HttpAnswer:
        """See ``Answering``."""
        _, page, *rest = [*path.split("/"), ""][:4]
        service = "/".join(rest).strip("/")
        match page:
            case "metrics" if not service:
                return await self._metrics(accept)
            case "healthz":
                return await self._health(works, service)
            case "readyz":
                return await self._health(does_its_job, service)
            case "" if not service:
                return HttpAnswer(HTTPStatus.OK, _INDEX)
            case _:
                return HttpAnswer(HTTPStatus.NOT_FOUND, b"there are:\n" + _INDEX)

    async def _health(self, question: Question, service: str) -> HttpAnswer:
        found = statuses(self._runtime_dir, self._monitored)
        others = {}
        if service:
            if service not in found:
                text = f"{', '.join(found)} are monitored\n"
                return HttpAnswer(HTTPStatus.NOT_FOUND, text.encode())
            found = {service: found[service]}
        elif question is does_its_job:
            others = {"store": store_health(await self._counts.latest())}
        well, values = report(found, question, time.monotonic(), others)
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return HttpAnswer(status, json.dumps(values, indent=1).encode() + b"\n", _JSON)

    async def _metrics(self, accept: str) -> HttpAnswer:
        # Not what the client wrote: other clients get the same answer.
        kind = _OPENMETRICS if "application/openmetrics-text" in accept else ""
        async with self._making:  # one after the other, for all clients
            at, answer = self._made.get(kind, (0.0, None))
            if answer is None or time.monotonic() >= at + _KEPT:
                answer = await self._exposed(kind)
                self._made[kind] = time.monotonic(), answer
        return answer

    async def _exposed(self, accept: str) -> HttpAnswer:
        queue = await self._counts.latest()
        found = statuses(self._runtime_dir, self._monitored)
        gauges = measured(
            found, queue, version=version(), now=time.monotonic(), clock=self._clock()
        )
        try:
            body, kind = await asyncio.to_thread(exposed, self._runtime_dir, gauges, accept)
        except Exception as error:  # noqa: BLE001 -- a damaged file of counters
            text = f"the counters in {self._runtime_dir} cannot be read: {error}\n"
            return HttpAnswer(HTTPStatus.INTERNAL_SERVER_ERROR, text.encode())
        return HttpAnswer(HTTPStatus.OK, body, kind)
