"""The console beside the real services: mail goes on, whatever becomes of the console."""

import os
import signal
import smtplib
import socket
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException

import pytest
from tests.acceptance.relay import Relay, Service
from tests.service.console_browser import USERS, Browser

pytestmark = pytest.mark.acceptance
MESSAGES = 150


@contextmanager
def hammered(port: int) -> Generator[None]:
    """Keep connections open that say nothing, or nonsense."""
    with ExitStack() as stack:
        for number in range(250):
            with suppress(OSError):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                client.sendall(b"GET / HTTP/1.1\r\nX-" if number % 2 else b"\x16\x03\x01")
        yield


def console_of(relay: Relay) -> Service:
    auth = relay.directory / "console.auth"
    auth.write_text(USERS)
    auth.chmod(0o600)
    return relay.console("--console-auth", str(auth))


def send(receiver: Service, messages: int) -> None:
    assert receiver.port is not None
    with smtplib.SMTP("127.0.0.1", receiver.port) as client:
        for number in range(messages):
            client.sendmail("a@x.test", [f"b{number}@y.test"], "Subject: x\r\n\r\nhello\r\n")


def signed_in(console: Service) -> Browser:
    assert console.port is not None
    browser = Browser(console.port)
    assert browser.sign_in().status == 303
    assert browser.get("/queue").status == 200
    return browser


def change_all(browser: Browser, action: str) -> None:
    """Change all messages after the confirmation."""
    asked = browser.post("/queue/change", action=action, all="yes")
    assert asked.status == 200
    with suppress(OSError, HTTPException):  # the console may be killed meanwhile
        browser.post("/queue/change", asked.hidden("/queue/change"))


def test_a_console_that_is_attacked_and_killed_costs_no_mail(relay: Relay) -> None:
    sink = relay.sink().start()
    receiver, forwarder = relay.receiver().start(), relay.forwarder(sink.port).start()
    console = console_of(relay).start()
    assert console.port is not None
    with hammered(console.port):
        send(receiver, 10)
        sink.wait_for(10)
        browser = signed_in(console)
    forwarder.stop()
    send(receiver, MESSAGES)

    holding = threading.Thread(target=change_all, args=(browser, "hold"))
    holding.start()
    console.hear("console_action")
    os.kill(console.pid, signal.SIGKILL)
    holding.join()
    console.wait()

    forwarder.start()
    console.start()
    browser = signed_in(console)
    change_all(browser, "release")
    sink.wait_for(10 + MESSAGES)
    relay.drained()
    arrived = [each.queue_id for each in sink.arrivals()]
    assert len(arrived) == len(set(arrived)) == 10 + MESSAGES
    relay.stop()
    assert relay.scraps() == []
