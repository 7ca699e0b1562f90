"""The dialogue asks for the room of the store; it does not look for itself."""

import pytest

from emailrelay_receiver.dialogue import replies
from emailrelay_receiver.dialogue.commands import hear
from emailrelay_receiver.dialogue.dialogue import Capabilities, SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import BeginMail


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
    dialogue = SmtpDialogue(Capabilities(domain="x", size=1000, recipients=1))
    hear(dialogue, b"EHLO c")
    asked = hear(dialogue, command)
    assert isinstance(asked, BeginMail)
    reply = dialogue.begin_mail(asked, room=room)
    assert reply == (replies.SENDER_OK if accepted else replies.NO_ROOM)
    assert (dialogue.mail.sender is not None) == accepted
