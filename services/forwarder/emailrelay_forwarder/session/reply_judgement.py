"""Decides whether a reply accepts, refuses, or ends the session (RFC 5321 section 4.2)."""

from functools import lru_cache

from emailrelay.reply import Reply
from emailrelay_forwarder.session.reply_reader import RawReply
from emailrelay_forwarder.session.session_error import SessionError, SessionStep, garbled


def expect(step: SessionStep, answer: RawReply, code: int) -> None:
    """Accept one code only: with any other the session cannot be used."""
    if answer.code != code:
        raise SessionError(step, _refusal(step, answer))


def judged(step: SessionStep, answer: RawReply) -> Reply:
    """Return the reply: 354 accepts DATA, any 2yz all else; the first digit decides (4.3.2)."""
    code = answer.code
    accepted = code == 354 if step is SessionStep.DATA else 200 <= code <= 299
    if not accepted:
        return _refusal(step, answer)
    # Each content gets a reply of its own, with the name of the message there.
    return Reply.of(*answer) if step is SessionStep.DOT else _known(answer)


@lru_cache(maxsize=64)
def _known(answer: RawReply) -> Reply:
    """Return a reply that servers repeat for each message."""
    return Reply.of(*answer)


def _refusal(step: SessionStep, answer: RawReply) -> Reply:
    """Return a 4yz or 5yz. Any other code is not an answer to this step, and 421 ends the session.

    Raises:
        SessionError: the server shuts down (421, section 3.8) or violates the protocol.

    """
    if answer.code < 400:
        raise garbled(step, f'the answer was "{answer}"')
    if answer.code == 421:
        raise SessionError(step, Reply.of(*answer))
    return Reply.of(*answer)
