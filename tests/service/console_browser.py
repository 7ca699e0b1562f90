"""A console as a real process, and a small browser without JavaScript."""

import html
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.acceptance.relay import free_port, until

USERS = """\
server plain ann secret operator
server plain vic secret viewer
server plain api key api-operator
server plain look key api-viewer
server plain smtp secret
"""
HANG = 60.0
_FIELD = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """The text that a reader sees, with single blanks."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.text)).split())

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def token(self) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', self.text)
        assert found is not None, self.text
        return found[1]

    def hidden(self, action: str) -> list[tuple[str, str]]:
        """The hidden fields of the form with this action."""
        _, _, rest = self.text.partition(f'action="{action}"')
        return [
            (name, html.unescape(value))
            for name, value in _FIELD.findall(rest.partition("</form>")[0])
        ]


@dataclass
class Browser:
    """Keeps cookies, and follows no redirect by itself."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    token: str = ""
    """The latest one of a form."""

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Page:
        connection = self.connection()
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            page = Page(answer.status, dict(answer.getheaders()), answer.read())
            for cookie in answer.msg.get_all("set-cookie", []):
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value.strip('"')
        finally:
            connection.close()
        return page

    def get(self, path: str, **headers: str) -> Page:
        return self._noted(self.ask("GET", path, headers=headers))

    def _noted(self, page: Page) -> Page:
        if b'name="form_token"' in page.body:
            self.token = page.token
        return page

    def post(
        self,
        path: str,
        fields: Sequence[tuple[str, str]] = (),
        /,
        headers: Mapping[str, str] | None = None,
        **more: str,
    ) -> Page:
        given = [*fields, *more.items()]
        if self.token and all(name != "form_token" for name, _ in given):
            given.append(("form_token", self.token))
        kind = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._noted(self.ask("POST", path, urlencode(given).encode(), kind))

    def sign_in(self, name: str = "ann", password: str = "secret") -> Page:
        return self.post("/sign-in", name=name, password=password, next="/queue")


@dataclass
class RunningConsole:
    """A console on a free port."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"
    auth: Path

    def browser(self, name: str = "", password: str = "secret") -> Browser:
        """A new browser; with a name, signed in."""
        browser = Browser(self.port)
        if name:
            page = browser.sign_in(name, password)
            assert page.status == 303, page.words
            page = browser.get("/queue")
            assert page.status == 200, page.words
        return browser

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The events of the log, or those of this name."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [each for each in found if not name or each["event"] == name]


@contextmanager
def running(place: str, directory: Path, *arguments: str) -> Generator[RunningConsole]:
    """Run a console on the store at ``place``; its files are in ``directory``."""
    auth, log, port = directory / "console.auth", directory / "console.log", free_port()
    if not auth.exists():
        auth.write_text(USERS)
    auth.chmod(0o600)
    command = [sys.executable, "-m", "emailrelay_console", "--store", place]
    command += ["--console-port", str(port), "--console-auth", str(auth), *arguments]
    with log.open("wb") as out, (directory / "console.err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
    console = RunningConsole(port, log, process, auth)
    try:
        until(lambda: _is_ready(console, directory), "the console answers", HANG)
        yield console
    finally:
        process.terminate()
        process.wait(HANG)


def _is_ready(console: RunningConsole, directory: Path) -> bool:
    assert console.process.poll() is None, (directory / "console.err").read_text()
    return bool(console.events("started"))
