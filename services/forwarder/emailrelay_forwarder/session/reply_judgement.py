"""Decides from the code of a reply between acceptance, refusal, and the end of the session (RFC 5321)."""

from emailrelay.reply import Reply
from emailrelay_forwarder.session.session_error import SessionError, SessionStep, garbled
from emailrelay_forwarder.session.wire import RawReply


def expect(step: SessionStep, answer: RawReply, code: int) -> None:
    """Accept one code only: anything else here means that the session cannot be used."""
    if answer.code != code:
        raise SessionError(step, _refusal(step, answer))


def judged(step: SessionStep, answer: RawReply) -> Reply:
    """Take as yes what the step calls for: 354 to DATA, any 2yz to all others."""
    if step is not SessionStep.DATA:
        return verdict(step, answer)
    return Reply.of(*answer) if answer.code == 354 else _refusal(step, answer)


def verdict(step: SessionStep, answer: RawReply) -> Reply:
    """Take any 2yz as yes: the first digit decides (4.3.2)."""
    return Reply.of(*answer) if 200 <= answer.code <= 299 else _refusal(step, answer)


def _refusal(step: SessionStep, answer: RawReply) -> Reply:
    """Take 4yz and 5yz as no; any other is no answer to this step, and 421 no answer to anything.

    Raises:
        SessionError: the server goes down (421, section 3.8) or does not follow the protocol.

    """
    if answer.code < 400:
        raise garbled(step, f'the answer was "{answer}"')
    if answer.code == 421:
        raise SessionError(step, Reply.of(*answer))
    return Reply.of(*answer)
