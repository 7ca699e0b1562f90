"""Who is let in, and what the Received: line says."""

from email import message_from_bytes

import pytest

from emailrelay.queue_id import QueueId
from emailrelay_receiver.admission import Admission
from emailrelay_receiver.received import received_line


def line(helo: str, client: str) -> bytes:
    return received_line(
        helo=helo,
        client=client,
        domain="relay.test",
        protocol="ESMTP",
        queue_id=QueueId("1.2.3"),
        now=0.0,
    )


@pytest.mark.parametrize(
    ("helo", "client", "start"),
    [
        ("c.test", "192.0.2.1", "from c.test ([192.0.2.1])\r\n"),
        ("[::1]", "::1", "from [::1] ([IPv6:::1])\r\n"),
        ("c", "fe80::1%eth0", "from c ([IPv6:fe80::1])\r\n"),
        ("c.test", "", "from c.test\r\n"),
        ("a\r\nX: (ü", "", "from a??X:???\r\n"),
    ],
)
def test_the_received_line_says_who_it_was(helo: str, client: str, start: str) -> None:
    text = line(helo, client).decode()
    assert text.startswith(f"Received: {start}\tby relay.test with ESMTP id 1.2.3;\r\n\t")
    assert text.endswith("\r\n")


def test_the_received_line_is_one_header_field() -> None:
    header = message_from_bytes(line("x" * 5000 + "\r\n\r\n", "::1") + b"Subject: s\r\n\r\n")
    assert header.keys() == ["Received", "Subject"]
    assert not header.defects


def test_one_address_does_not_take_all_places() -> None:
    admission = Admission(most=3, most_of_one=2)
    assert [admission.enter("a"), admission.enter("a")] == [None, None]
    assert admission.enter("a") is not None
    assert admission.enter("b") is None
    assert admission.enter("c") is not None


def test_a_place_that_was_given_back_is_free() -> None:
    admission = Admission(most=1, most_of_one=1)
    assert admission.enter("a") is None
    admission.leave("a")
    assert admission.enter("b") is None
    assert admission.total == 1
    assert dict(admission.of_address) == {"b": 1}
