"""The admission of clients, and the text of the Received: line."""

from dataclasses import dataclass
from email import message_from_bytes

import pytest

from emailrelay.queue_id import QueueId
from emailrelay_receiver.clients.admission import Admission
from emailrelay_receiver.content.received import end_of_ours, received_line


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
def test_the_received_line_names_the_client(helo: str, client: str, start: str) -> None:
    text = line(helo, client).decode()
    assert text.startswith(f"Received: {start}\tby relay.test with ESMTP id 1.2.3;\r\n\t")
    assert text.endswith("\r\n")


def test_the_received_line_is_one_header_field() -> None:
    header = message_from_bytes(line("x" * 5000 + "\r\n\r\n", "::1") + b"Subject: s\r\n\r\n")
    assert header.keys() == ["Received", "Subject"]
    assert not header.defects


@pytest.mark.parametrize(
    ("content", "between"),
    [
        (b"Subject: s\r\n\r\ntext\r\n", b""),
        (b"X-Odd : s\r\n\r\ntext\r\n", b""),
        (b"From a@b Mon Jan  1 00:00:00 2024\r\nSubject: s\r\n\r\n", b""),
        (b"\r\ntext\r\n", b""),
        (b"", b""),
        (b" text\r\nSubject: s\r\n", b"\r\n"),
        (b"\ttext: x\r\n\r\n", b"\r\n"),
        (b"text\r\nSubject: s\r\n", b"\r\n"),
        (b" ", b"\r\n"),
        (b"x" * 65536, b"\r\n"),
    ],
)
def test_our_line_ends_the_header_in_front_of_what_is_none(content: bytes, between: bytes) -> None:
    assert end_of_ours(content) == between
    ours = line("c", "")
    header = message_from_bytes(ours + between + content)
    assert header["Received"] == message_from_bytes(ours)["Received"]


@dataclass(eq=False)
class Client:
    """A client that is idle since a time, or busy."""

    since: float | None = None
    sent_away: bool = False

    def idle_since(self) -> float | None:
        """See ``Guest``."""
        return self.since

    def make_room(self) -> None:
        """See ``Guest``."""
        self.sent_away = True


def enter(
    admission: Admission, source: str, client: Client | None = None, *, favoured: bool = True
) -> bool:
    guest = client or Client()
    return admission.enter(guest, source, now=100.0, favoured=favoured) is None


def test_one_address_does_not_take_all_places() -> None:
    admission = Admission(most=3, most_of_one=2)
    assert [enter(admission, source) for source in "aaabc"] == [True, True, False, True, False]


def test_a_place_that_was_given_back_is_free() -> None:
    admission = Admission(most=1, most_of_one=1)
    client = Client()
    assert enter(admission, "a", client)
    admission.leave(client)
    assert enter(admission, "b")
    admission.leave(client)
    assert admission.total == 1


def test_the_idlest_of_its_own_source_makes_room() -> None:
    admission = Admission(most=10, most_of_one=3)
    old, older, busy, other = Client(50.0), Client(40.0), Client(None), Client(10.0)
    for client in (old, older, busy):
        assert enter(admission, "a", client)
    assert enter(admission, "b", other)
    assert enter(admission, "a", Client(100.0))
    assert [c.sent_away for c in (old, older, busy, other)] == [False, True, False, False]
    assert enter(admission, "a", Client(100.0))
    assert old.sent_away
    assert not enter(admission, "a", Client(100.0))
    assert admission.total == 4


def test_the_source_with_most_places_makes_room_first() -> None:
    admission = Admission(most=4, most_of_one=3)
    many = [Client(since) for since in (60.0, 70.0, None)]
    for client in many:
        assert enter(admission, "a", client)
    lonely = Client(10.0)
    assert enter(admission, "b", lonely)
    assert enter(admission, "c")
    assert enter(admission, "d")
    assert [c.sent_away for c in many] == [True, True, False]
    assert not lonely.sent_away
    assert enter(admission, "e")
    assert lonely.sent_away
    assert not enter(admission, "f")


def test_some_places_are_kept_for_favoured_clients() -> None:
    admission = Admission(most=20, most_of_one=20)
    came = [enter(admission, str(number), favoured=False) for number in range(20)]
    assert came == [True] * 18 + [False] * 2
    assert enter(admission, "known")
    assert enter(admission, "known")
    assert not enter(admission, "known")
