"""The API of the console: what programs get and change, and that its description is true."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.relay import until
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import put
from tests.service.console_browser import Browser, Page, RunningConsole, running

from emailrelay.envelope import Address, Envelope
from emailrelay.store.mail_history import HistoryBounds

OPERATOR, VIEWER = "api.key", "look.key"


async def fill(opener: SpoolOpener, messages: int = 30) -> list[str]:
    async with opener() as store:
        await store.history().keep(HistoryBounds(30, 1 << 30))
        return [
            await put(
                store,
                envelope=Envelope(
                    sender=Address(f"sender{n}@x.test"), to_remote=(Address(f"to{n}@y.test"),)
                ),
            )
            for n in range(messages)
        ]


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningConsole, list[str]]]:
    directory = tmp_path_factory.mktemp("console")
    opener = SpoolOpener(directory)
    messages = asyncio.run(fill(opener))
    with running(opener.place, directory) as console:
        until(lambda: ask(console, "/queue").json["complete"], "all is read")
        yield console, messages


def ask(
    console: RunningConsole, path: str, token: str = VIEWER, body: object = None, kind: str = ""
) -> Page:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is None:
        return Browser(console.port).ask("GET", f"/api/v1{path}", headers=headers)
    headers["Content-Type"] = kind or "application/json"
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Browser(console.port).ask("POST", f"/api/v1{path}", octets, headers)


def change(console: RunningConsole, token: str = OPERATOR, **body: Any) -> Page:
    return ask(console, "/queue/changes", token, body)


def ended(console: RunningConsole, begun: Page) -> dict[str, Any]:
    """Wait for the end of a change that takes longer than the console waits; give its facts."""

    def facts() -> dict[str, Any]:
        found: dict[str, Any] = ask(console, f"/queue/changes/{begun.json['change']}").json
        return found if found["ended"] else {}

    found = until(facts, "the change has ended")
    assert not begun.json["ended"] or begun.json == found
    return found


Filled = tuple[RunningConsole, list[str]]


def test_a_program_reads_the_queue(filled: Filled) -> None:
    console, messages = filled
    found = ask(console, "/queue?limit=2&first=1").json
    assert (found["count"], [each["id"] for each in found["messages"]]) == (
        len(ask(console, "/queue?limit=1000").json["messages"]),
        messages[1:3],
    )
    one = ask(console, f"/messages/{messages[0]}").json
    assert (one["sender"], one["recipients"], one["journal"][0]["event"]) == (
        "sender0@x.test",
        ["to0@y.test"],
        "Accepted",
    )
    assert ask(console, "/queue?address=sender7@").json["count"] == 1
    (group,) = ask(console, "/queue/groups?by=domain").json["groups"]
    assert group["group"] == "y.test"
    assert ask(console, "/queue/totals").json["all"]["messages"] >= 25
    (traced,) = ask(console, "/trace?text=sender3@x.test").json["messages"]
    assert (traced["id"], traced["live"]) == (messages[3], True)
    file = f"emailrelay.{messages[3]}.content"
    assert ask(console, f"/trace?text={file}").json["messages"] == [traced]
    assert set(ask(console, "/overview").json["rates"]) == {
        "received",
        "delivered",
        "failed",
        "dropped",
    }


def test_a_program_changes_messages_by_ids_and_by_a_filter(filled: Filled) -> None:
    console, messages = filled
    held = ended(console, change(console, action="hold", ids=messages[:2]))
    assert (held["done"], held["ended"], held["user"]) == (2, True, "api")
    chosen = {"state": "held", "address": "sender0@"}
    assert change(console, action="delete", filter=chosen, dry_run=True).json == {"count": 1}
    assert ended(console, change(console, action="delete", filter=chosen))["done"] == 1
    assert ask(console, f"/messages/{messages[0]}").status == 404
    # The record of a message follows its end.
    trace = f"/trace?text={messages[0]}"
    (past,) = until(lambda: ask(console, trace).json["messages"], "it is in the history")
    assert (past["end"], past["live"]) == ("deleted", False)
    assert ended(console, change(console, action="release", filter={}))["done"] == 1
    logged = [(each["user"], each["action"]) for each in console.events("console_action")]
    assert logged == [("api", "hold")] * 2 + [("api", "delete"), ("api", "release")]


@pytest.mark.parametrize("token", ["", "x", "api.wrong", "ann.secret", "smtp.secret", "vic"])
def test_without_a_token_there_is_nothing(filled: Filled, token: str) -> None:
    console, _ = filled
    page = ask(console, "/queue", token)
    assert page.status == 401
    assert page.headers["content-type"] == "application/problem+json"
    assert page.headers["www-authenticate"] == "Bearer"
    assert page.json["title"] == "Unauthorized"


def test_each_operation_needs_a_token(filled: Filled) -> None:
    console, _ = filled
    paths = ask(console, "/openapi.json").json["paths"]
    operations = [(path, verb) for path, verbs in paths.items() for verb in verbs]
    assert len(operations) >= 8
    for path, verb in operations:
        if path == "/openapi.json":
            continue
        body: object = {} if verb == "post" else None
        assert ask(console, path.replace("{id}", "1.1.1"), "", body).status == 401, path


def test_a_session_is_no_token_and_a_token_no_session(filled: Filled) -> None:
    console, _ = filled
    assert console.browser("ann").get("/api/v1/queue").status == 401
    assert Browser(console.port).get("/queue", Authorization=f"Bearer {OPERATOR}").status == 303


def test_a_viewers_token_changes_nothing(filled: Filled) -> None:
    console, messages = filled
    assert change(console, VIEWER, action="delete", ids=messages).status == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/queue?state=x", None, 400),
        ("/queue?limit=-1", None, 400),
        ("/queue?limit=1001", None, 400),
        ("/queue?colour=red", None, 400),
        ("/queue?limit=1&limit=2", None, 400),
        ("/queue/groups?by=x", None, 400),
        ("/trace", None, 400),
        ("/trace?text=x&since=x", None, 400),
        ("/nothing", None, 404),
        ("/messages/..%2f..%2fetc%2fpasswd", None, 404),
        ("/queue/changes/x", None, 404),
        ("/queue/changes/99999", None, 404),
        ("/queue/changes", None, 405),
        ("/queue/changes", b"{", 400),
        ("/queue/changes", b"\xff", 400),
        ("/queue/changes", b"[" * 100_000, 400),
        ("/queue/changes", b" " * 300_000, 413),
        ("/queue/changes", [], 400),
        ("/queue/changes", {}, 400),
        ("/queue/changes", {"action": "burn", "ids": ["1"]}, 400),
        ("/queue/changes", {"action": "hold"}, 400),
        ("/queue/changes", {"action": "hold", "ids": []}, 400),
        ("/queue/changes", {"action": "hold", "ids": [1]}, 400),
        ("/queue/changes", {"action": "hold", "ids": ["1"], "filter": {}}, 400),
        ("/queue/changes", {"action": "hold", "ids": ["1"], "dry_run": 1}, 400),
        ("/queue/changes", {"action": "hold", "filter": {"colour": "red"}}, 400),
        ("/queue/changes", {"action": "hold", "filter": {"state": "failed"}}, 400),
    ],
)
def test_wrong_requests_get_a_problem_in_json(
    filled: Filled, path: str, body: object, status: int
) -> None:
    console, _ = filled
    page = ask(console, path, OPERATOR, body)
    assert (page.status, page.headers["content-type"]) == (status, "application/problem+json")
    assert page.json["status"] == status
    assert page.json["detail"]


def test_another_kind_of_body_is_refused(filled: Filled) -> None:
    console, _ = filled
    page = ask(console, "/queue/changes", OPERATOR, {"action": "hold", "ids": ["1"]}, "text/plain")
    assert page.status == 415


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningConsole]:
    """A console to which no one has sent a wrong token."""
    opener = SpoolOpener(tmp_path)
    asyncio.run(fill(opener))
    with running(opener.place, tmp_path) as console:
        yield console


def test_the_description_is_true(fresh: RunningConsole, tmp_path: Path) -> None:
    """Schemathesis makes requests of the description, right and wrong ones."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    console = fresh
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{console.port}/api/v1/openapi.json",
            *("--header", f"Authorization: Bearer {OPERATOR}"),
            *("--max-examples", "10", "--seed", "1", "--no-color"),
            # A quick machine sends more wrong tokens than an address may: they are tested above.
            *("--exclude-checks", "unsupported_method,ignored_auth"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert not console.events("internal_error")
