"""The pages history, routes, doctor and accounts of the console."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.acceptance.relay import Relay, until
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import claimed, put
from tests.service.console_browser import Browser, Page, RunningConsole, running

from emailrelay.config import read
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt
from emailrelay.oauth.clocks import read_clocks
from emailrelay.oauth.renewal import Renewal
from emailrelay.oauth.settings import AuthSettings
from emailrelay.oauth.token import Issued, Token
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.secrets import Secret
from emailrelay.settlement import Defer, Done
from emailrelay.store.chooser import open_tokens
from emailrelay.store.mail_history import HistoryBounds

SETTINGS = """\
spool_dir = "{spool}"
forward_to = "{server}"

[[account]]
name = "office"
mechanism = "xoauth2"
user = "relay@example.com"
[account.oauth2]
provider = "microsoft"
tenant = "example.com"
grant = "client-credentials"
client_id = "6731de76-14a6-49ae-97bc-6eba6914391e"
client_secret_file = "{secret}"

[[route]]
name = "partner"
recipient = ["partner.test"]
smarthosts = ["{server}"]
rate = "30/m"
tls = "off"
"""
HISTORY = HistoryBounds(10, 10**8)
SECRET = "do-not-show-this"


class Pages(NamedTuple):
    console: RunningConsole
    settings: Path
    ann: Browser
    vic: Browser
    messages: dict[str, QueueId]


async def fill(opener: SpoolOpener) -> dict[str, QueueId]:
    found, now = dict[str, QueueId](), time.time()
    async with opener() as store:
        await store.history().keep(HISTORY)
        for name in ("past", "live"):
            to = Address(f"{name}@y.test")
            envelope = Envelope(sender=Address("news@x.test"), to_remote=(to,), client="192.0.2.9")
            found[name] = await put(store, envelope=envelope)
            async with await claimed(store, found[name]) as claim:
                if name == "past":
                    said = {to: Reply(250, "2.0.0 queued as 4F5A")}
                    await claim.settle(Done(Attempt(at=now, peer="mx", replies=said)))
                else:
                    said = {to: Reply(451, "4.7.1 greylisted")}
                    tried = Attempt(at=now, peer="mx", replies=said, next_attempt=now + 900)
                    await claim.settle(Defer(tried))
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    directory = tmp_path_factory.mktemp("pages")
    opener = SpoolOpener(directory)
    messages, relay = asyncio.run(fill(opener)), Relay(directory)
    settings, secret = directory / "emailrelay.toml", directory / "office.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    try:
        server = relay.sink().start().address
        settings.write_text(
            SETTINGS.format(server=server, spool=opener.place.split(":")[-1], secret=secret)
        )
        with running(opener.place, directory, "--config", str(settings)) as console:
            yield Pages(console, settings, console.browser("ann"), console.browser("vic"), messages)
    finally:
        relay.clear_away()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("text=news@x.test", ["live", "past"]),
        ("text=past@y.test", ["past"]),
        ("text=4F5A", ["past"]),
        ("text=greylisted", ["live"]),
        ("text=192.0.2.9", ["live", "past"]),
        ("text=*@y.test&since=1h", ["live", "past"]),
        ("text=%3C%3E", []),
        ("text=nothing+like+it", []),
        ("text=1795965059538.1.1", []),
    ],
)
def test_the_history_finds_what_the_trace_finds(pages: Pages, query: str, found: list[str]) -> None:
    page = pages.vic.get(f"/history?{query}")
    assert page.status == 200, page.words
    links = [part.partition('"')[0] for part in page.text.split('href="/message/')[1:]]
    assert links == [pages.messages[name] for name in found]
    assert ("No message matches" in page.words) == (not found)


def test_an_id_leads_to_its_message(pages: Pages) -> None:
    page = pages.ann.get(f"/history?text={pages.messages['past']}")
    assert f"/message/{pages.messages['past']}" in page.text
    assert "delivered" in page.words


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/history?text=" + "x" * 600, "at most 500 characters"),
        ("/history?text=%07", "that can be printed"),
        ("/history?text=x&since=soon", "must be an age"),
        ("/routes?recipient=" + "x" * 600, "at most 500 characters"),
        ("/routes?recipient=a%00", "that can be printed"),
    ],
)
def test_bad_values_get_a_page_that_says_why(pages: Pages, path: str, words: str) -> None:
    page = pages.ann.get(path)
    assert page.status == 400
    assert words in page.words


def test_the_routes_tell_which_way_mail_goes_and_why(pages: Pages) -> None:
    page = pages.vic.get("/routes?sender=a@x.test&recipient=bob@partner.test")
    assert "Mail to bob@partner.test takes the route partner" in page.words
    assert "its recipient pattern partner.test matches" in page.words
    page = pages.vic.get("/routes?sender=a@x.test&recipient=%3Cbob@other.test%3E")
    assert "takes the route default" in page.words
    assert "partner: its recipient pattern partner.test does not match" in page.words
    assert "30 messages in 60 s" in page.words


def test_script_in_a_tried_address_stays_text(pages: Pages) -> None:
    page = pages.ann.get("/routes?recipient=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert page.status == 200
    assert "<script>alert" not in page.text


def test_the_accounts_have_no_secret(pages: Pages) -> None:
    page = pages.vic.get("/accounts")
    assert "office relay@example.com xoauth2 ready" in page.words
    assert SECRET not in page.text


async def keep_token(settings_file: Path, lifetime: float, text: str) -> None:
    """Put a token into the store, as a renewal does."""
    settings = read(AuthSettings, ["--config", str(settings_file)], {})
    account = settings.account[0]
    assert account.oauth2 is not None
    tokens = open_tokens(settings.store_place, settings.spool_dir)
    renewal = Renewal(account=account, oauth2=account.oauth2, tokens=tokens, report=print)
    now = read_clocks()
    token = Token(text=Secret(text), issued=now, lifetime=lifetime, renew_at=lifetime / 2)
    await renewal.keep_sign_in(Issued(token=token))
    await tokens.close()


async def test_the_accounts_tell_when_their_tokens_end(pages: Pages) -> None:
    await keep_token(pages.settings, 3600, SECRET)
    page = pages.vic.get("/accounts")
    assert "good" in page.words
    assert re.search(r"ends in (59|60) min", page.words)
    assert SECRET not in page.text
    await keep_token(pages.settings, -300, SECRET)
    page = pages.vic.get("/accounts")
    assert "ready" in page.words
    assert re.search(r"ended [56] min ago|ended 3\d\d s ago", page.words)


def form(values: Mapping[str, str]) -> list[tuple[str, str]]:
    return list(values.items())


def examined(browser: Browser, route: str, **fields: str) -> Page:
    values = {"route": route, "sender": "", "recipient": "", **fields}
    browser.get("/doctor")
    answer = browser.post("/doctor", form(values))
    assert answer.status == 303, answer.words
    found = until(lambda: _over(browser.get("/doctor")), "the examination ends")
    assert found is not None
    return found


def _over(page: Page) -> Page | None:
    return None if "It is in progress" in page.words else page


def test_the_doctor_shows_the_steps_of_a_route(pages: Pages) -> None:
    page = examined(pages.ann, "partner", sender="-h@x.test", recipient="bob@partner.test")
    for words in ("partner, begun by ann", "TCP", "EHLO", "MAIL <-h@x.test>", "no problem"):
        assert words in page.words
    told = pages.console.events("console_examination")
    assert [(each["route"], each["user"]) for each in told] == [("partner", "ann")]
    assert "All routes, begun by ann" in examined(pages.ann, "").words


def test_the_doctor_is_for_operators_routes_and_forms_of_this_console(pages: Pages) -> None:
    ann, vic, fields = pages.ann, pages.vic, {"route": "partner", "sender": "", "recipient": ""}
    assert "Only operators can begin an examination" in vic.get("/doctor").words
    assert vic.post("/doctor", form(fields)).status == 403
    ann.get("/doctor")
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    assert ann.post("/doctor", form(fields), headers=elsewhere).status == 403
    assert ann.post("/doctor", form(fields), form_token="wrong").status == 403
    assert ann.post("/doctor", form({**fields, "route": "smtp.example.com:25"})).status == 400
    assert ann.post("/doctor", form({**fields, "route": "--help"})).status == 400
    assert ann.post("/doctor", form({**fields, "sender": "x" * 999})).status == 400
    assert ann.post("/doctor", form({**fields, "sender": "a\nb"})).status == 400
    assert pages.console.browser().post("/doctor", form(fields)).status == 401


def test_one_examination_runs_at_a_time(pages: Pages) -> None:
    ann, fields = pages.ann, {"route": "partner", "sender": "", "recipient": ""}
    ann.get("/doctor")
    assert ann.post("/doctor", form(fields)).status == 303
    busy = ann.post("/doctor", form(fields))
    assert busy.status == 503
    assert "another examination is in progress" in busy.words
    until(lambda: _over(ann.get("/doctor")), "the examination ends")


def test_a_host_without_forwarder_says_so(tmp_path: Path) -> None:
    asyncio.run(fill(SpoolOpener(tmp_path)))
    with running(SpoolOpener(tmp_path).place, tmp_path) as console:
        ann = console.browser("ann")
        assert "forward_to" in ann.get("/routes").words
        assert "forward_to" in ann.get("/doctor").words
        assert "There are no accounts" in ann.get("/accounts").words
        assert not console.events("internal_error")
