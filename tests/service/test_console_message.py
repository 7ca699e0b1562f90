"""The page of one message: what it shows, and what hostile messages cannot do there."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.contract.conftest import PostgresOpener, SpoolOpener
from tests.contract.mail import Opener, claimed, put
from tests.service.console_browser import Browser, RunningConsole, running

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done
from emailrelay.store.mail_history import HistoryBounds

SCRIPT = "<script>alert(1)</script>"
EVIL = f'"{SCRIPT}"@x.test'
HTML = (
    "<html><head><meta http-equiv=refresh content='0;url=http://evil.test/'>"
    "<link rel=preconnect href=http://evil.test><base href=http://evil.test/></head>"
    "<body onload=alert(1)><h1 onclick='alert(1)'>Offer</h1><script>alert(1)</script>"
    "<img src=http://evil.test/pixel.png><img src=x onerror=alert(1)><iframe src=//evil.test>"
    "</iframe><a href='javascript:alert(1)'>click</a><form action=http://evil.test><input></form>"
    "<svg onload=alert(1)></svg><p style='color:red'>red</p></body></html>"
)
NORMAL = (
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\nSch=C3=B6n =E2=80=AE <b>text</b>\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n" + HTML.encode() + b"\r\n"
    b"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment;"
    b" filename*=utf-8''%3Cscript%3E.pdf\r\n\r\n%PDF\r\n--b--\r\n"
)
PARTS = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 10_000
NESTED = b"".join(
    b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(10_000)
)
HOSTILE = {
    "parts": (PARTS, "more parts, or deeper ones"),
    "nested": (NESTED, "more parts, or deeper ones"),
    "charset": (b"Content-Type: text/plain; charset=x-none\r\n\r\n\xff\xfe caf\xe9", "caf"),
    "odd codec": (b"Content-Type: text/plain; charset=unicode_escape\r\n\r\n\\u0041", "\\u0041"),
    "base64": (b"Content-Transfer-Encoding: base64\r\n\r\n!!aGVsbG8", "hello"),
    "no base64": (b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=a", "Text"),
    "words": (b"Subject: =?x-none?q?a?= =?utf-8?b?!?=\r\n\r\nx", "=?x-none?q?a?="),
    "long": (b"Subject: long\r\n\r\n" + b"word " * 400_000, "The text goes on"),
    "lines": (b"Subject: lines\r\n\r\n" + b"\n" * 200_000, "The text goes on"),
    "nothing": (b"", "Message without a subject"),
    "no header": (b"\r\n\r\nonly text", "only text"),
    "controls": (b"Subject: a\x1b[31m\r\n\r\n\x00\x07", "\\x1b[31m"),
}


def envelope(sender: str, *recipients: str) -> Envelope:
    return Envelope(
        sender=Address(sender), to_remote=tuple(map(Address, recipients)), client="192.0.2.7"
    )


async def fill(opener: Opener) -> dict[str, QueueId]:
    found, now = dict[str, QueueId](), time.time()
    async with opener() as store:
        await store.history().keep(HistoryBounds(10, 10**8))
        found["normal"] = await put(store, NORMAL, envelope=envelope(EVIL, "ann@y.test", EVIL))
        reply = Reply(451, f"4.7.1 {SCRIPT} later")
        async with await claimed(store, found["normal"]) as claim:
            tried = Attempt(
                at=now,
                peer=f"mx {SCRIPT}",
                replies={Address("ann@y.test"): reply},
                next_attempt=now + 900,
            )
            await claim.settle(Defer(tried))
        for name, (content, _) in HOSTILE.items():
            found[name] = await put(store, content, envelope=envelope("eve@x.test", "d@y.test"))
        many = [f"user{n}@y.test" for n in range(5000)]
        found["many"] = await put(store, b"\r\n", envelope=envelope("x@x.test", *many))
        found["gone"] = await put(store, b"\r\n", envelope=envelope("x@x.test", "gone@y.test"))
        async with await claimed(store, found["gone"]) as claim:
            await claim.settle(
                Done(Attempt(at=now, peer="mx", replies={Address("gone@y.test"): Reply(250, "ok")}))
            )
    return found


class ShownMessages(NamedTuple):
    console: RunningConsole
    messages: dict[str, QueueId]
    ann: Browser


@pytest.fixture(
    scope="module", params=[SpoolOpener, PostgresOpener], ids=lambda kind: kind.__name__
)
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ShownMessages]:
    directory: Path = tmp_path_factory.mktemp("message")
    opener: Opener = request.param(directory)
    messages = asyncio.run(fill(opener))
    with running(opener.place, directory) as console:
        yield ShownMessages(console, messages, console.browser("ann"))


def test_the_page_has_time_line_envelope_header_text_and_parts(shown: ShownMessages) -> None:
    _, messages, browser = shown
    page = browser.get(f"/message/{messages['normal']}")
    assert page.status == 200
    for words in (
        "Grüße",
        "deferred",
        "192.0.2.7",
        "try 1 with mx",
        "next try at",
        "ann@y.test pending",
        "<script>.pdf",
        "application/pdf",
        "Content-Type multipart/mixed",
        "Schön",
    ):
        assert words in page.words
    assert "\\u202e" in page.text
    assert "\u202e" not in page.text


def test_no_field_of_a_message_becomes_html(shown: ShownMessages) -> None:
    _, messages, browser = shown
    for path in (f"/message/{messages['normal']}", "/history?text=ann@y.test", "/queue"):
        page = browser.get(path)
        assert SCRIPT not in page.text
        assert "&lt;script&gt;alert(1)" in page.text


def test_html_is_framed_without_script_and_without_anything_from_other_hosts(
    shown: ShownMessages,
) -> None:
    _, messages, browser = shown
    page = browser.get(f"/message/{messages['normal']}")
    assert f'<iframe class="mail-html" sandbox="" src="/message/{messages["normal"]}/html"' in (
        page.text
    )
    frame = browser.get(f"/message/{messages['normal']}/html")
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert frame.headers["x-frame-options"] == "SAMEORIGIN"
    assert "<h1>Offer</h1>" in frame.text
    assert '<p style="color:red">red</p>' in frame.text
    for word in (
        "script",
        "onload",
        "onclick",
        "onerror",
        "src=",
        "href",
        "form",
        "link",
        "meta h",
    ):
        assert word not in frame.text.replace('title="javascript:', "")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_are_shown_within_bounds(shown: ShownMessages, name: str) -> None:
    _, messages, browser = shown
    page = browser.get(f"/message/{messages[name]}")
    assert page.status == 200, page.words
    assert HOSTILE[name][1] in page.words
    assert len(page.body) < 500_000


def test_a_download_has_each_octet(shown: ShownMessages) -> None:
    _, messages, browser = shown
    whole = browser.get(f"/message/{messages['long']}/raw")
    assert whole.status == 200
    assert whole.headers["content-disposition"].startswith("attachment;")
    assert whole.headers["content-type"] == "message/rfc822"
    assert whole.body == HOSTILE["long"][0]


def test_a_message_of_100_mb_takes_no_such_memory(tmp_path: Path) -> None:
    size = 100_000_000

    async def fill_one() -> QueueId:
        async with SpoolOpener(tmp_path)() as store:
            return await put(store, b"Subject: big\r\n\r\n" + bytes(size))

    message = asyncio.run(fill_one())
    with running(SpoolOpener(tmp_path).place, tmp_path) as console:
        browser = console.browser("ann")
        before = most_memory(console)
        assert "first MiB" in browser.get(f"/message/{message}").words
        assert len(browser.get(f"/message/{message}/raw").body) > size
        assert most_memory(console) - before < size / 2


def most_memory(console: RunningConsole) -> int:
    """The most memory that the console ever had, in octets."""
    status = Path(f"/proc/{console.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_message_with_many_recipients_names_the_first(shown: ShownMessages) -> None:
    _, messages, browser = shown
    page = browser.get(f"/message/{messages['many']}")
    assert "user99@y.test" in page.words
    assert "and 4,900 more" in page.words


def test_a_message_that_has_left_is_told_from_the_history(shown: ShownMessages) -> None:
    _, messages, browser = shown
    page = browser.get(f"/message/{messages['gone']}")
    assert page.status == 200
    assert "delivered to all recipients" in page.words
    assert "It has left the store" in page.words
    assert browser.get(f"/message/{messages['gone']}/raw").status == 404


def test_viewers_see_no_text_unless_a_setting_lets_them(shown: ShownMessages) -> None:
    console, messages, _ = shown
    browser = console.browser("vic")
    page = browser.get(f"/message/{messages['normal']}")
    assert page.status == 200
    assert "Grüße" in page.words
    assert "Schön" not in page.words
    assert "multipart/mixed" not in page.words
    assert '<form class="actions"' not in page.text
    for end in ("html", "raw"):
        assert browser.get(f"/message/{messages['normal']}/{end}").status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/message/..%2f..%2fetc%2fpasswd",
        "/message/../../etc/passwd",
        "/message/%2e%2e",
        "/message/..",
        "/message/%00",
        "/message/" + "9" * 5000,
        "/message/99999999999999.1.1",
        "/message/1.1.1/..",
        "/message/<script>",
        "/message/%ff%fe/raw",
        "/message/1.1.1/html",
        "/message/1.1.1/raw",
        "/message/",
    ],
)
def test_bad_ids_get_a_page_and_no_file(shown: ShownMessages, path: str) -> None:
    page = shown.ann.get(path.replace("<", "%3C").replace(">", "%3E"))
    assert page.status in {404, 414}
    assert "Traceback" not in page.text
    assert "root:" not in page.text


def test_pages_need_a_session_and_the_right_method(shown: ShownMessages) -> None:
    console, messages, ann = shown
    stranger = console.browser()
    for path in (
        f"/message/{messages['normal']}",
        f"/message/{messages['normal']}/html",
        f"/message/{messages['normal']}/raw",
        "/history?text=x",
        "/routes",
        "/doctor",
        "/accounts",
    ):
        answer = stranger.get(path)
        assert (answer.status, answer.body) == (303, b"")
        assert ann.ask("DELETE", path).status in {403, 405}
        assert ann.post(path).status in {400, 405}
    assert not console.events("internal_error")
