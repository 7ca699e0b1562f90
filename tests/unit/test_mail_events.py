"""Events of a message name it in each form of the log, briefly."""

import json
import os

import pytest
from tests.unit.test_logs import Pipe

from emailrelay.classic.log_lines import ClassicLine, Severity, of_event, of_own
from emailrelay.config import LogFormat
from emailrelay.envelope import Address, Envelope
from emailrelay.events.delivery import Delivered, Failed
from emailrelay.events.receiving import Received, Rejected
from emailrelay.events.store import PossibleDuplicate
from emailrelay.logs import ADDRESS_LIMIT, FIELD_LIMIT
from emailrelay.mail_fields import mail_fields
from emailrelay.queue_id import QueueId

ID = QueueId("1.2.3")
ENVELOPE = Envelope(
    sender=Address("ann@x.test"),
    to_remote=tuple(Address(f"r{number}@y.test") for number in range(7)),
    authentication="ann",
    message_id="<1@x.test>",
)
FAILED = Failed(id=ID, reason="550 5.1.1 no", **mail_fields(ENVELOPE))
FIRST_FIVE = [f"r{number}@y.test" for number in range(5)]


def test_json_has_the_first_recipients_as_a_list_and_their_number() -> None:
    pipe = Pipe()
    pipe.report()(FAILED)
    (line,) = pipe.lines()
    assert json.loads(line) == {
        "level": "error",
        "event": "failed",
        "service": "receiver",
        "pid": os.getpid(),
        "id": ID,
        "reason": "550 5.1.1 no",
        "route": "",
        "code": 0,
        "sender": "ann@x.test",
        "recipients": 7,
        "to": FIRST_FIVE,
        "message_id": "<1@x.test>",
        "user": "ann",
    }


def test_logfmt_has_them_with_commas() -> None:
    pipe = Pipe()
    pipe.report(LogFormat.LOGFMT)(FAILED)
    (line,) = pipe.lines()
    assert f'recipients=7 to="{", ".join(FIRST_FIVE)}" message_id=<1@x.test> user=ann' in line


def test_a_fact_may_concern_some_recipients() -> None:
    event = Failed(id=ID, reason="", **mail_fields(ENVELOPE, ENVELOPE.recipients[6:]))
    assert (event.recipients, event.to) == (1, ("r6@y.test",))


def test_empty_fields_are_left_out_but_the_null_sender_is_shown() -> None:
    pipe = Pipe()
    about = mail_fields(Envelope(sender=Address(""), to_remote=(Address("r@y.test"),)))
    pipe.report()(Delivered(id=ID, peer="p", reply="250 ok", seconds=0.5, **about))
    pipe.report()(PossibleDuplicate(id=ID, peer="p"))
    delivered, duplicate = map(json.loads, pipe.lines())
    assert (delivered["sender"], delivered["to"]) == ("", ["r@y.test"])
    assert not {"message_id", "user"} & delivered.keys()
    assert set(duplicate) == {"level", "event", "service", "pid", "id", "peer"}


def test_a_line_is_bounded() -> None:
    pipe = Pipe()
    long = Address("x" * 10_000)
    envelope = Envelope(sender=long, to_remote=(long,) * 1000, message_id=long, authentication=long)
    pipe.report()(Failed(id=ID, reason=long, **mail_fields(envelope)))
    (line,) = pipe.lines()
    assert json.loads(line)["recipients"] == 1000
    assert len(line) < 4 * FIELD_LIMIT + 5 * ADDRESS_LIMIT + 500


@pytest.mark.parametrize("direct", [True, False])
def test_the_historical_log_names_them_at_the_end_of_the_line(direct: bool) -> None:  # noqa: FBT001 - a case
    pipe = Pipe()
    received = Received(id=ID, size=5, client="192.0.2.1", port=9, **mail_fields(ENVELOPE))
    events = [received, FAILED, Rejected(command="HELO", reply="501 no", client="192.0.2.1")]
    for event in events:
        pipe.report()(event)
    lines = [of_event(line.encode()) for line in pipe.lines()]
    named = ", ".join(f"<{address}>" for address in FIRST_FIVE)
    about = f"to {named} and 2 more, Message-ID <1@x.test>, user ann"
    assert ([of_own(event) for event in events] if direct else lines) == [
        ClassicLine(
            Severity.INFO,
            f"received {ID} from <ann@x.test>: 7 recipient(s), 5 octets ({about})",
            "192.0.2.1;9",
        ),
        ClassicLine(Severity.ERROR, f"failed {ID}: 550 5.1.1 no (from <ann@x.test>, {about})"),
        ClassicLine(Severity.INFO, "rejected HELO: 501 no", "192.0.2.1"),
    ]
