"""The queue in the console, beside every store: its filters, groups, pages and actions."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.acceptance.relay import until
from tests.contract.conftest import (
    LoggedSpoolOpener,
    PostgresOpener,
    SeveralOpener,
    SpoolOpener,
)
from tests.contract.mail import OK, Opener, claimed, put, stages
from tests.service.console_browser import Browser, Page, RunningConsole, running

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.stage import Stage

GREYLISTED = "4.7.1 <{}> greylisted, try again in {} seconds"


def envelope(sender: str, *recipients: str) -> Envelope:
    return Envelope(sender=Address(sender), to_remote=tuple(map(Address, recipients)))


async def fill(opener: Opener, deferred: int = 60) -> dict[str, list[QueueId]]:
    """Put messages into the store: deferred, ready, failed and held ones."""
    now, found = time.time(), dict[str, list[QueueId]]()
    async with opener() as store:
        found["deferred"] = []
        for n in range(deferred):
            to = Address(f"user{n}@slow.test")
            message = await put(store, envelope=envelope("news@x.test", to))
            async with await claimed(store, message) as claim:
                reply = Reply(451, GREYLISTED.format(to, 60 + n))
                tried = Attempt(at=now, peer="mx", replies={to: reply}, next_attempt=now + 900 + n)
                await claim.settle(Defer(tried))
            found["deferred"].append(message)
        found["ready"] = [
            await put(store, envelope=envelope("", "ann@y.test")),
            await put(store, b"x" * 5000, envelope=envelope("bob@x.test", "a@y.test", "b@z.test")),
        ]
        failed = await put(store, envelope=envelope("<script>alert(1)</script>@x.test", "c@z.test"))
        async with await claimed(store, failed) as claim:
            await claim.settle(Fail(Reply(550, "5.1.1 no <b>such</b> user")))
        held = await put(store, envelope=envelope("eve@x.test", "d@z.test"))
        await store.hold(held)
        found |= {"failed": [failed], "held": [held]}
    return found


Filled = tuple[RunningConsole, Opener, dict[str, list[QueueId]]]


@pytest.fixture(
    scope="module",
    params=[SpoolOpener, LoggedSpoolOpener, PostgresOpener, SeveralOpener],
    ids=lambda kind: kind.__name__,
)
def looked_at(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    """A console beside a store of each kind. Its mail stays as it is."""
    yield from filled(request.param, tmp_path_factory.mktemp("console"))


@pytest.fixture(params=[SpoolOpener, PostgresOpener], ids=lambda kind: kind.__name__)
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """A console beside a store of each kind, for a test that changes the mail."""
    yield from filled(request.param, tmp_path)


def filled(kind: type[Opener], directory: Path) -> Iterator[Filled]:
    opener: Opener = kind(directory)  # type: ignore[call-arg]
    messages = asyncio.run(fill(opener))
    with running(opener.place, directory) as console:
        browser = console.browser("ann")
        until(lambda: "still being read" not in browser.get("/queue").text, "all is read")
        yield console, opener, messages


def shown(page: Page) -> list[str]:
    """The ids of the messages of a page."""
    assert page.status == 200, page.words
    return [part.partition('"')[0] for part in page.text.split('href="/message/')[1:]]


def test_the_oldest_are_shown_first_in_pages(looked_at: Filled) -> None:
    console, _, messages = looked_at
    browser, everything = (
        console.browser("ann"),
        [each for part in messages.values() for each in part],
    )
    first, second = browser.get("/queue"), browser.get("/queue?page=2")
    assert shown(first) + shown(second) == everything
    assert len(shown(first)) == 50
    assert "64 messages; page 1 of 2" in first.words
    assert shown(browser.get("/queue?page=99")) == shown(second)
    assert shown(browser.get("/queue?order=newest"))[0] == everything[-1]
    assert shown(browser.get("/queue?order=largest"))[0] == messages["ready"][1]


@pytest.mark.parametrize(
    ("query", "wanted", "number"),
    [
        ("state=held", "held", 1),
        ("state=failed", "failed", 1),
        ("state=ready", "ready", 2),
        ("state=deferred&address=user42", "deferred", 1),
        ("state=ready,held&address=@Z.test", "ready", 2),
        ("sender=%3C%3E", "ready", 1),
        ("sender=eve@x.test", "held", 1),
        ("recipient=b@z.test", "ready", 1),
        ("recipient=user?9@*", "deferred", 5),
        ("reply=greylisted", "deferred", 60),
        ("reply=451+4.7.1+%3C…%3E+greylisted,+try+again+in+…+seconds", "deferred", 60),
        ("reply=no+%3C", "failed", 1),
        ("older=1d", "", 0),
        ("newer=1d&state=held", "held", 1),
        ("route=nowhere", "", 0),
    ],
)
def test_a_filter_shows_the_messages_that_fit(
    looked_at: Filled, query: str, wanted: str, number: int
) -> None:
    console, _, messages = looked_at
    page = console.browser("ann").get(f"/queue?{query}".replace("…", "%E2%80%A6"))
    found = shown(page)
    assert len(found) == min(number, 50)
    if wanted:
        assert set(found) & set(messages[wanted])
        assert f"{number} message" in page.words


def test_messages_that_wait_for_one_reason_are_one_group(looked_at: Filled) -> None:
    console, _, _ = looked_at
    browser = console.browser("vic")
    page = browser.get("/queue?by=reply")
    assert "60 451 4.7.1 <…> greylisted, try again in … seconds" in page.words
    link = page.text.partition('class="reply"><a href="')[2].partition('"')[0]
    assert "60 messages; page 1 of 2" in browser.get(link.replace("&amp;", "&")).words
    assert "60 slow.test" in browser.get("/queue?by=domain").words
    assert "60 news@x.test" in browser.get("/queue?by=sender").words
    assert "60 deferred" in browser.get("/queue?by=state").words
    assert browser.get("/queue?by=route").status == 200


def test_texts_of_strangers_stay_text(looked_at: Filled) -> None:
    console, _, _ = looked_at
    page = console.browser("ann").get("/queue?state=failed")
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "no &lt;b&gt;such" in page.text
    strange = console.browser("ann").get('/queue?address="><script>')
    assert '"><script>' not in strange.text


def test_a_viewer_sees_no_action(looked_at: Filled) -> None:
    console, _, _ = looked_at
    assert "Hold" in console.browser("ann").get("/queue").words
    assert "Hold" not in console.browser("vic").get("/queue").words


def act(browser: Browser, action: str, ids: Sequence[str] = (), **more: str) -> Page:
    fields = [*(("id", each) for each in ids), ("action", action), *more.items()]
    return browser.post("/queue/change", fields)


def confirm(browser: Browser, page: Page) -> Page:
    """Send the form of a confirmation as it is."""
    return browser.post("/queue/change", page.hidden("/queue/change"))


def result(browser: Browser, page: Page) -> str:
    """Wait for the end of a change, which has a page of its own after a second; give the words."""
    assert page.status == 303
    where = page.headers["location"]
    if where.startswith("/changes/"):
        until(lambda: "It has ended." in browser.get(where).words, "the change ends")
    return browser.get(where).words


def states(opener: Opener) -> dict[QueueId, Stage]:
    async def read() -> dict[QueueId, Stage]:
        async with opener() as store:
            return await stages(store)

    return asyncio.run(read())


def test_one_message_is_held_released_and_retried_at_once(changed: Filled) -> None:
    console, opener, messages = changed
    browser, (message, *_) = console.browser("ann"), messages["deferred"]
    done = act(browser, "hold", [message], back="/queue?page=1")
    assert unquote(done.headers["location"]).endswith("/queue?page=1")
    assert "Held: 1 message." in result(browser, done)
    assert states(opener)[message] is Stage.HELD
    assert shown(browser.get("/queue?state=held")) == [message, *messages["held"]]
    assert "Released: 1 message." in result(browser, act(browser, "release", [message]))
    assert states(opener)[message] is Stage.READY
    result(browser, act(browser, "retry", messages["failed"]))
    assert states(opener)[messages["failed"][0]] is Stage.READY
    result(browser, act(browser, "flush", messages["deferred"][1:2]))
    told = [(each["user"], each["action"], each["id"]) for each in console.events("console_action")]
    assert told[:2] == [("ann", "hold", message), ("ann", "release", message)]
    assert len(told) == 4


def test_a_selection_is_deleted_after_a_confirmation(changed: Filled) -> None:
    console, opener, messages = changed
    browser, chosen = console.browser("ann"), messages["deferred"][:3]
    asked = act(browser, "delete", chosen)
    assert "Delete 3 messages for good?" in asked.words
    assert len(states(opener)) == 64
    assert "Deleted: 3 messages." in result(browser, confirm(browser, asked))
    assert not set(chosen) & states(opener).keys()
    # A second time, they have gone.
    assert "no message to which this applies" in act(browser, "delete", chosen).words
    assert "Deleted: 0 messages; 3 had left" in result(browser, confirm(browser, asked))


def test_all_that_match_are_changed_but_not_mail_that_came_after_the_count(
    changed: Filled,
) -> None:
    console, opener, messages = changed
    browser = console.browser("ann")
    asked = act(browser, "fail", all="yes", address="slow.test")
    assert "Give up 60 messages?" in asked.words
    assert "and 50 more" in asked.words

    async def another() -> QueueId:
        async with opener() as store:
            return await put(store, envelope=envelope("new@x.test", "late@slow.test"))

    late = asyncio.run(another())
    assert len(states(opener)) == 65
    result(browser, confirm(browser, asked))
    found = states(opener)
    assert {found[each] for each in messages["deferred"]} == {Stage.FAILED}
    assert found[late] is Stage.READY
    assert found[messages["held"][0]] is Stage.HELD
    assert len(console.events("console_action")) == 60


def test_an_action_leaves_out_states_that_it_does_not_apply_to(changed: Filled) -> None:
    console, opener, messages = changed
    browser = console.browser("ann")
    asked = act(browser, "release", all="yes")
    assert "Release 1 message?" in asked.words
    result(browser, confirm(browser, asked))
    assert states(opener)[messages["held"][0]] is Stage.READY
    assert act(browser, "release", all="yes", state="failed").status == 400
    assert act(browser, "release").status == 400
    assert act(browser, "burn", messages["held"]).status == 400
    assert browser.get("/changes/1").status == 200
    assert browser.get("/changes/99").status == 404


def test_a_message_that_is_delivered_meanwhile_is_not_changed(changed: Filled) -> None:
    console, opener, messages = changed
    browser, (message, _) = console.browser("ann"), messages["ready"]

    async def deliver() -> None:
        async with opener() as store:
            claim = await claimed(store, message)
            async with claim:
                await claim.settle(Done(), OK)

    asyncio.run(deliver())
    done = act(browser, "hold", [message])
    assert "Held: 0 messages; 1 had left" in result(browser, done)
