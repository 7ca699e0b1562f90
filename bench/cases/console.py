"""The cost of the console: a page beside a deep queue, its memory, and fifty open browsers."""

import http.client
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from bench.case import Bench, Bound, Case, Figures, Goal
from bench.generate import fill
from bench.load import KIB
from bench.machine import cpu, pss

_DEPTH = 100_000
_LATER = 86_400.0
_BROWSERS = 50
_SECONDS = 30.0
_PORT = 19_926
_PAGES = {
    "overview": "/",
    "first page": "/queue",
    "last page": "/queue?page=100000",
    "by size": "/queue?order=largest",
    "by address": "/queue?address=bench.invalid",
    "by state": "/queue?state=ready",
    "groups": "/queue?by=reply",
}
_ROUNDS = 20
_PAGE, _PSS, _SHARE = "ms CPU a page", "MiB at rest", "% of a core"


class _Browser:
    """Signs in, and asks for pages."""

    def __init__(self) -> None:
        fields = urlencode({"name": "ann", "password": "secret", "next": "/"})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._ask("POST", "/sign-in", fields, kind)
        self._cookie = (answer.getheader("set-cookie") or "").partition(";")[0]

    def _ask(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        self._connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=120)
        self._connection.request(method, path, body, headers)
        return self._connection.getresponse()

    def get(self, path: str) -> str:
        return self._ask("GET", path, None, {"Cookie": self._cookie}).read().decode()

    def live(self) -> http.client.HTTPConnection:
        self._ask("GET", "/live", None, {"Cookie": self._cookie}).readline()
        return self._connection


@contextmanager
def _console(directory: Path) -> Generator[int]:
    """Run a console on the spool of a directory; give its process."""
    auth, log = directory / "console.auth", directory / "console.log"
    auth.write_text("server plain ann secret operator\n")
    auth.chmod(0o600)
    options = ["--spool-dir", str(directory / "spool"), "--console-auth", str(auth)]
    command = [sys.executable, "-m", "emailrelay_console", "--console-port", str(_PORT), *options]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        while '"started"' not in log.read_text():
            if process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)  # its log is read again: it tells its start there only
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _pages(bench: Bench) -> Figures:
    """Ask for each page some times; the CPU counts, as others use the machine too."""
    fill(bench.directory / "spool", bench.count(_DEPTH), 2 * KIB, due_in=_LATER)
    with _console(bench.directory) as process:
        browser = _Browser()
        began = cpu([process])
        while (
            re.search(r"still (being|to be) read", browser.get("/queue"))
            or browser.get("/queue").count("<tr>") < 2
        ):
            time.sleep(1)  # a look at the page costs CPU, so looks are rare
        filled, figures = cpu([process]) - began, dict[str, float]()
        for name, path in _PAGES.items():
            before = cpu([process])
            for _ in range(_ROUNDS):
                browser.get(path)
            figures[f"ms {name}"] = 1000 * (cpu([process]) - before) / _ROUNDS
        return {
            _PAGE: max(figures.values()),
            **figures,
            "s CPU to index": filled,
            "MiB with the index": pss([process]),
        }


def _rest(bench: Bench) -> Figures:
    (bench.directory / "spool").mkdir(mode=0o770)
    with _console(bench.directory) as process:
        browser = _Browser()
        for path in _PAGES.values():
            browser.get(path)
        return {_PSS: pss([process])}


def _browsers(bench: Bench) -> Figures:
    fill(bench.directory / "spool", bench.count(1000), 2 * KIB, due_in=_LATER)
    with _console(bench.directory) as process, ExitStack() as stack:
        browser = _Browser()
        for _ in range(_BROWSERS):
            stack.callback(browser.live().close)
        time.sleep(5)  # reading the queue for the first time is not measured
        before = cpu([process])
        time.sleep(_SECONDS)  # the time that is measured
        return {_SHARE: 100 * (cpu([process]) - before) / _SECONDS}


CASES = (
    Case(
        name="console-pages",
        words="the console beside 100,000 messages",
        contestants={"console": _pages},
        goals=(Goal(figure=_PAGE, of="console", bound=Bound.AT_MOST, synced=100),),
    ),
    Case(
        name="console-rest",
        words="an idle console",
        contestants={"console": _rest},
        goals=(Goal(figure=_PSS, of="console", bound=Bound.AT_MOST, synced=60),),
        short=1.0,
    ),
    Case(
        name="console-browsers",
        words="fifty browsers with live updates",
        contestants={"console": _browsers},
        goals=(Goal(figure=_SHARE, of="console", bound=Bound.AT_MOST, synced=5),),
    ),
)
