"""The dialogue gets the free space of the store as a value; it does not read it itself."""

import pytest

from emailrelay_receiver.dialogue import replies
from emailrelay_receiver.dialogue.commands import hear
from emailrelay_receiver.dialogue.dialogue import Capabilities, SmtpDialogue


@pytest.mark.parametrize(
    ("command", "room", "accepted"),
    [
        (b"MAIL FROM:<a@b>", None, True),
        (b"MAIL FROM:<a@b>", 1, True),
        (b"MAIL FROM:<a@b>", 0, False),
        (b"MAIL FROM:<a@b>", -5, False),
        (b"MAIL FROM:<a@b> SIZE=500", 500, True),
        (b"MAIL FROM:<a@b> SIZE=500", 499, False),
    ],
)
def test_mail_begins_if_there_is_room(command: bytes, room: int | None, *, accepted: bool) -> None:
    dialogue = SmtpDialogue(Capabilities(domain="x", size=1000, recipients=1), room=lambda: room)
    hear(dialogue, b"EHLO c")
    assert hear(dialogue, command) == (replies.SENDER_OK if accepted else replies.NO_ROOM)
    assert (dialogue.mail.sender is not None) == accepted
