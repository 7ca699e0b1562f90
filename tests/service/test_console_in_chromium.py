"""The console in a real browser, beside the real services."""

import smtplib
import socket
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.acceptance.relay import Relay, Service, free_port, until
from tests.service.console_browser import RunningConsole, running
from tests.service.console_chromium import (
    NARROW,
    SCREENSHOTS,
    WIDE,
    Chromium,
    Look,
    chromium,
    quoted,
)

SETTINGS = """\
spool_dir = "{spool}"
runtime_dir = "{run}"
forward_to = "{server}"
client_tls = "off"

[[account]]
name = "office"
mechanism = "xoauth2"
user = "relay@example.com"
[account.oauth2]
provider = "microsoft"
tenant = "example.com"
grant = "device-code"
client_id = "6731de76-14a6-49ae-97bc-6eba6914391e"

[[route]]
name = "partner"
recipient = ["partner.test"]
smarthosts = ["127.0.0.1:{closed}"]
rate = "30/m"
"""
PICTURE = Look(1200, "light")
PAGES = ("/", "/queue", "/queue?by=reply", "/history?text=x.test", "/doctor", "/accounts")
TRIED = "/routes?sender=ann@x.test&recipient=bob@partner.test"
PICTURES = {"/": "overview", "/queue": "queue"} if SCREENSHOTS else {}


class Bait:
    """A web server that counts its visitors: there must be none."""

    def __init__(self) -> None:
        self.visits = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.visits += 1
            connection.close()


class Scene(NamedTuple):
    chromium: Chromium
    console: RunningConsole
    receiver: Service
    forwarder: Service
    directory: Path
    bait: Bait

    def send(self, subject: str, *recipients: str, html: str = "", sender: str = "") -> str:
        """Send a message through the receiver; return its id when the forwarder has tried it."""
        message = EmailMessage()
        message["From"] = sender = sender or "ann@x.test"
        message["To"], message["Subject"] = ", ".join(recipients), subject
        message.set_content(f"Dear reader,\n\nthis is about: {subject}.\n")
        if html:
            message.add_alternative(html, subtype="html")
        known = len(self.receiver.events("received"))
        with smtplib.SMTP("127.0.0.1", self.receiver.port) as client:
            client.sendmail(sender, list(recipients), message.as_bytes())
        found = until(lambda: self.receiver.events("received")[known:], "the message is received")
        return str(found[-1]["id"])

    def sign_in(self, name: str = "ann") -> None:
        self.chromium.driver.delete_all_cookies()
        self.chromium.open("/sign-in")
        self.chromium.find("#name").send_keys(name)
        self.chromium.find("#password").send_keys("secret")
        self.chromium.find("main button").click()
        self.chromium.until_words("Sign out")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("chromium")
    relay, settings = Relay(directory), directory / "emailrelay.toml"
    try:
        server = relay.sink().start()
        settings.write_text(
            SETTINGS.format(
                spool=relay.spool, run=directory / "run", server=server.address, closed=free_port()
            )
        )
        receiver = relay.receiver("--config", str(settings)).start()
        forwarder = relay.forwarder(server.port, "--config", str(settings)).start()
        with (
            running(f"spool://{relay.spool}", directory, "--config", str(settings)) as console,
            chromium(directory, f"http://127.0.0.1:{console.port}") as browser,
        ):
            made = Scene(browser, console, receiver, forwarder, directory, Bait())
            made.send("Monthly report", "bob@partner.test", "eve@partner.test")
            made.send("Lost parcel", "refused@y.test")
            made.send("Hello", "carl@y.test")
            for name in ("dan", "eva", "fred"):
                made.send("Weekly news", f"later-{name}@z.test", sender="news@x.test")
            forwarder.hear("deferred", 4)
            forwarder.hear("failed")
            forwarder.hear("delivered")
            yield made
    finally:
        relay.clear_away()


@pytest.fixture
def ann(scene: Scene) -> Iterator[Chromium]:
    """The browser, in which an operator is signed in. At the end it must have no complaint."""
    browser = scene.chromium
    browser.look(PICTURE)
    if "ann (operator)" not in browser.words:
        scene.sign_in()
    browser.complaints()
    yield browser
    assert browser.complaints() == []
    assert scene.console.events("internal_error") == []


def test_signing_in_and_out_by_keyboard(scene: Scene) -> None:
    browser = scene.chromium
    browser.driver.delete_all_cookies()
    browser.look(WIDE)
    browser.open("/history")
    assert browser.focused.get_attribute("name") == "name"
    assert browser.barriers() == []
    browser.keys("ann", "TAB", "wrong", "ENTER")
    browser.until_words("Name or password is wrong")
    browser.complaints()  # the answer had the status 401
    browser.keys("ann", "TAB", "secret", "ENTER")
    browser.until_words("ann (operator)")
    assert browser.path == "/history"
    browser.tab_to("Skip to the content")
    browser.keys("ENTER")
    assert browser.focused.get_attribute("id") == "main"
    browser.tab_to("Sign out")
    browser.keys("ENTER")
    browser.until_words("Password")
    assert "Sign out" not in browser.words
    assert browser.complaints() == []


@pytest.mark.parametrize("path", [*PAGES, TRIED])
def test_a_page_works_narrow_and_wide_light_and_dark(ann: Chromium, path: str) -> None:
    for look in (NARROW, WIDE):
        ann.look(look)
        ann.open(path)
        assert ann.overflow() == 0
        assert ann.barriers() == []
    if name := PICTURES.get(path):
        ann.look(PICTURE, 720)
        ann.open(path)
        ann.picture(name)


def test_the_overview_counts_new_mail_while_it_is_open(scene: Scene, ann: Chromium) -> None:
    ann.open("/")
    before = ann.find("main").text
    scene.send("News", "later-dora@y.test")
    until(lambda: ann.find("main").text.split("As of")[0] != before.split("As of")[0], "it counts")


def test_messages_are_held_and_released_by_keyboard(scene: Scene, ann: Chromium) -> None:
    message = scene.send("Keys", "later-keys@y.test")
    scene.forwarder.hear("deferred", id=message)
    ann.open("/queue?recipient=later-keys@y.test")
    assert ann.barriers() == []
    until(lambda: _again(ann, "later-keys@y.test"), "the queue has the message")
    ann.tab_to("id")
    ann.keys("SPACE")
    assert ann.focused.is_selected()
    ann.find("main").click()
    ann.driver.execute_script("arguments[0].focus()", ann.find('button[value="hold"]'))
    ann.keys("ENTER")
    ann.until_words("Held: 1 message")
    ann.open("/queue?state=held")
    ann.find('input[name="id"]').click()
    ann.find('button[value="release"]').click()
    ann.until_words("Released: 1 message")


def _again(browser: Chromium, words: str) -> bool:
    browser.driver.refresh()
    return words in browser.find("main").text


def test_all_that_match_are_deleted_after_a_count_and_a_confirmation(
    scene: Scene, ann: Chromium
) -> None:
    for number in range(3):
        message = scene.send("Junk", f"later-junk{number}@y.test")
        scene.forwarder.hear("deferred", id=message)
    ann.open("/queue?address=later-junk*")
    until(lambda: _again(ann, "all 3 that match"), "the queue has the messages")
    ann.find('input[name="all"][value="yes"]').click()
    ann.find('button[value="delete"]').click()
    ann.until_words("Delete 3 messages for good?")
    assert ann.barriers() == []
    ann.look(NARROW)
    assert ann.overflow() == 0
    ann.picture("confirm")
    ann.find("main .danger").click()
    ann.until_words("Deleted: 3 messages")
    assert len([e for e in scene.console.events("console_action") if e["action"] == "delete"]) == 3


def test_a_message_is_read_acted_on_and_downloaded(scene: Scene, ann: Chromium) -> None:
    message = scene.send(
        "Offer for June", "later-joan@y.test", html="<h1>Offer</h1><p>for <b>June</b></p>"
    )
    scene.forwarder.hear("deferred", id=message)
    for look in (NARROW, WIDE):
        ann.look(look)
        ann.open(f"/message/{message}")
        assert ann.overflow() == 0
        assert ann.barriers() == []
    for words in ("Offer for June", "this is about: Offer", "try 1 with", "later-joan@y.test"):
        assert words in ann.words
    ann.look(PICTURE, 820)
    ann.find("summary").click()
    frame = ann.find("iframe")
    ann.driver.execute_script("arguments[0].scrollIntoView()", frame)
    ann.driver.switch_to.frame(frame)
    until(lambda: "for June" in ann.find("body").text, "the frame shows the HTML")
    ann.driver.switch_to.default_content()
    ann.driver.execute_script("scrollTo(0, 0)")
    ann.picture("message")
    ann.find("a[download]").click()
    until((scene.directory / f"{message}.eml").exists, "the file is there")
    for value, words in (("hold", "Held: 1"), ("release", "Released: 1")):
        ann.find(f'button[value="{value}"]').click()
        ann.until_words(words)


@pytest.mark.parametrize(
    "steps",
    [
        [("deferred", "flush", "", "Due now: 1 message")],
        [
            ("deferred", "fail", "Give up 1 message?", "Given up: 1 message"),
            ("failed", "retry", "", "Due now, with a new schedule: 1 message"),
        ],
        [("deferred", "delete", "Delete 1 message for good?", "Deleted: 1 message")],
    ],
    ids=["retry now", "give up and start again", "delete"],
)
def test_one_message_is_changed(
    scene: Scene, ann: Chromium, steps: list[tuple[str, str, str, str]]
) -> None:
    message = scene.send("Last words", f"later-{steps[0][1]}@y.test")
    scene.forwarder.hear("deferred", id=message)
    for state, action, question, done in steps:
        ann.open(f"/message/{message}")
        until(partial(_again, ann, state), f"it is {state}")
        ann.find(f'button[value="{action}"]').click()
        if question:
            ann.until_words(question)
            ann.find("main .danger").click()
        ann.until_words(done)


def test_a_hostile_message_runs_nothing_and_fetches_nothing(scene: Scene, ann: Chromium) -> None:
    bait = f"http://{scene.bait.address}"
    message = scene.send(
        "<script>document.title='taken'</script>",
        "later-bait@y.test",
        sender='"<img/src=x>"@x.test',
        html=(
            f"<link rel=preconnect href={bait}><link rel=stylesheet href={bait}/x.css>"
            f"<meta http-equiv=refresh content='0;url={bait}'><img src={bait}/a.png>"
            f"<p style='background:url({bait}/b.png)'>Win</p><script>parent.location='{bait}'"
            f"</script><iframe src={bait}></iframe><video src={bait}/v autoplay></video>"
            f"<img src=x onerror=\"fetch('{bait}')\"><a href={bait}>here</a>"
            f"<style>@import '{bait}/i.css';</style><object data={bait}></object>"
        ),
    )
    scene.forwarder.hear("deferred", id=message)
    ann.open(f"/message/{message}")
    ann.find("summary").click()
    assert ann.barriers() == []
    assert ann.driver.title.startswith("<script>")
    assert "<script>" in ann.find("h1").text
    # The frame alone, as the address in a new tab: it is closed by itself.
    ann.open(f"/message/{message}/html")
    assert "Win" in ann.find("body").text
    assert ann.path == f"/message/{message}/html"
    assert scene.bait.visits == 0
    # The policy tells of the picture that a style names; everything else has gone before.
    assert all("b.png" in each for each in ann.complaints())


def test_the_history_is_searched(ann: Chromium) -> None:
    ann.open("/history")
    ann.find("#text").send_keys("carl@y.test")
    ann.keys("ENTER")
    ann.until_words("delivered")
    ann.find("tbody a").click()
    ann.until_words("delivered to all recipients")
    assert ann.barriers() == []


def test_a_route_is_tried(ann: Chromium) -> None:
    ann.open("/routes")
    ann.find("#recipient").send_keys("x@partner.test")
    ann.keys("ENTER")
    ann.until_words("takes the route partner")


def test_the_doctor_tells_its_steps_without_a_reload(ann: Chromium) -> None:
    ann.open("/doctor")
    ann.find(f"option[value={quoted('')}]").click()
    ann.find("main button.main").click()
    ann.until_words("in progress")
    ann.until_words("a problem")
    assert "127.0.0.1" in ann.find("table").text
    assert ann.barriers() == []
    ann.look(NARROW)
    assert ann.overflow() == 0
    ann.look(PICTURE, 800)
    ann.picture("doctor")


def test_pages_are_read_without_javascript(ann: Chromium) -> None:
    ann.scripts(allowed=False)
    try:
        for path, words in (
            ("/", "In the queue"),
            ("/queue", "bob@partner.test"),
            ("/history?text=carl", "carl@y.test"),
            ("/doctor", "DNS"),
        ):
            ann.open(path)
            assert words in ann.words
    finally:
        ann.scripts(allowed=True)


def test_a_viewer_sees_no_actions(scene: Scene, ann: Chromium) -> None:
    scene.sign_in("vic")
    try:
        ann.open("/queue")
        assert "bob@partner.test" in ann.words
        assert ann.all("main button") == ann.all("main .filter button")
        ann.find("tbody a").click()
        ann.until_words("Only operators read")
        ann.open("/doctor")
        assert "Only operators can begin" in ann.words
        assert ann.barriers() == []
    finally:
        scene.sign_in()
