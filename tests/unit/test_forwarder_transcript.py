"""The dialogue as it is logged."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.events.event import Event
from emailrelay.events.sessions import Dialogue, Direction
from emailrelay_forwarder.session.session_error import SessionStep
from emailrelay_forwarder.session.transcript import Transcript


def told(step: SessionStep, octets: bytes) -> list[str]:
    events: list[Event] = []
    Transcript(events.append, "peer").sent(step, octets)
    return [event.line for event in events if isinstance(event, Dialogue)]


def answered(step: SessionStep, code: int, text: str) -> list[Event]:
    events: list[Event] = []
    Transcript(events.append, "peer").received(step, code, text)
    return events


def test_commands_are_told_one_a_line() -> None:
    octets = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    assert told(SessionStep.MAIL, octets) == ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA"]


def test_replies_are_told_as_they_came() -> None:
    def line(text: str) -> Dialogue:
        return Dialogue(direction=Direction.RECEIVED, line=text, peer="peer")

    assert answered(SessionStep.EHLO, 250, "here\nSIZE 100") == [
        line("250-here"),
        line("250 SIZE 100"),
    ]
    assert answered(SessionStep.RSET, 250, "") == [line("250")]


@given(st.binary(min_size=4).map(base64.b64encode))
def test_no_secret_is_told(secret: bytes) -> None:
    assert told(SessionStep.AUTH, secret + b"\r\n") == ["***"]
    assert told(SessionStep.AUTH, b"AUTH PLAIN " + secret + b"\r\n") == ["AUTH PLAIN ***"]
    [event] = answered(SessionStep.AUTH, 535, f"no, not {secret.decode()}")
    assert isinstance(event, Dialogue)
    assert event.line == "535 ***"


@pytest.mark.parametrize("step", [SessionStep.CONTENT, SessionStep.DOT])
def test_no_message_text_is_told(step: SessionStep) -> None:
    assert "secret" not in "".join(told(step, b"Subject: secret\r\n.\r\n"))
