"""Single commands are answered as they arrive; commands that arrive together, by the task."""

from collections.abc import Callable

import pytest
from tests.service.receiving import receiving

from emailrelay_receiver.session.conversation import Conversation

CONVERSATIONS = {
    "mail": [
        "EHLO c",
        "MAIL FROM:<s@x>",
        "RCPT TO:<r@y>",
        "RCPT TO:<z@y>",
        "DATA",
        "text\r\n.",
        "QUIT",
    ],
    "refusals": [
        "MAIL FROM:<s@x>",
        "HELO c",
        "FOO",
        "RCPT TO:<r@y>",
        "DATA",
        "MAIL FROM:s",
        "NOOP",
    ],
    "begun again": [
        "EHLO c",
        "MAIL FROM:<s@x>",
        "EHLO c",
        "MAIL FROM:<s@x>",
        "RSET",
        "MAIL FROM:<t@x>",
    ],
    "chunks dropped": [
        *("EHLO c", "MAIL FROM:<s@x>", "RCPT TO:<r@y>", "BDAT 5\r\nabc", "NOOP", "RSET"),
        *("MAIL FROM:<s@x>", "RCPT TO:<r@y>", "BDAT 8 LAST\r\nde\r\nf.", "NOOP", "QUIT"),
    ],
    "empty lines": ["", "NOOP", " ", "HELP", "VRFY someone"],
}
BODIES = {"mail": [b"text\r\n"], "chunks dropped": [b"de\r\nf.\r\n"]}
"""The stored content of each, behind our own line and the empty header."""


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_answers_are_the_same_one_by_one_and_together(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: Callable[[Conversation, bytes], bool] = vars(Conversation)["answer_at_once"]
    at_once = 0

    def counted(self: Conversation, line: bytes) -> bool:
        nonlocal at_once
        done = answered(self, line)
        at_once += done
        return done

    monkeypatch.setattr(Conversation, "answer_at_once", counted)
    commands = CONVERSATIONS[name]
    async with receiving() as running:
        async with running.client() as peer:
            one_by_one = [await peer.reply(), *[await peer.ask(each) for each in commands]]
            alone, at_once = at_once, 0
        async with running.client() as peer:
            greeting = await peer.reply()
            peer.send(b"".join(each.encode() + b"\r\n" for each in commands))
            together = [greeting, *[await peer.reply() for _ in commands]]
        bodies = sorted(content.rpartition(b"00\r\n\r\n")[2] for _, _, content in running.mail())
    numbered = [reply.partition(" as ")[0] for reply in one_by_one]
    assert numbered == [reply.partition(" as ")[0] for reply in together]
    assert (alone > 0, at_once) == (True, 0)
    assert bodies == 2 * BODIES.get(name, [])
