"""The verdicts of milters, about a message or some of its recipients."""

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import CONTINUE, ScriptedMilter, packet
from tests.service.milters.milter_desk import ANN, BOB, Desk

from emailrelay import envelope_format
from emailrelay.filters.milter import connection
from emailrelay.filters.verdict import Abandon, Accept, BrokenFilter, RefusedRecipient, Reject, Side
from emailrelay.reply import Reply


@pytest.mark.parametrize("step", [b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B", b"E"])
@pytest.mark.parametrize("steps", ["together", "one by one"])
async def test_verdict_at_any_step_is_about_this_message_only(
    desk: Desk, step: bytes, steps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if steps != "together":
        monkeypatch.setattr(connection, "_QUICK", None)
    for answer, expected in (
        (packet(b"a"), Accept),
        (packet(b"d"), Abandon),
        (packet(b"r"), Reject),
        (packet(b"t"), Reject),
    ):
        script = ScriptedMilter(answers={step: answer})
        async with serving(script) as place:
            assert isinstance(await desk.run(f"milter:{place}"), expected)
            heard = script.steps_heard.rstrip("AQ")
            for_one = step == b"R" and expected is Reject and answer == packet(b"r")
            assert steps == "together" or heard.count(step.decode()) == (2 if for_one else 1)
            script.answers.clear()
            assert await desk.run(f"milter:{place}") == Accept()


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (packet(b"r"), Reply(550, "5.7.1 message rejected")),
        (packet(b"t"), Reply(451, "4.7.1 try again later")),
        (packet(b"y", b"554 5.7.1 no thanks\0"), Reply(554, "5.7.1 no thanks")),
        (packet(b"y", b"550-5.7.1 one\r\n550 two\0"), Reply(550, "5.7.1 one two")),
        (packet(b"y", b"550-5.7.1 one\r\n550 5.7.1 two\0"), Reply(550, "5.7.1 one two")),
        (packet(b"y", b"550-5.7.1 1.2.3 a\r\n550 5.7.1\0"), Reply(550, "5.7.1 1.2.3 a")),
        (packet(b"y", b"550-one\r\n550 one\0"), Reply(550, "one one")),
        (packet(b"y", b"550 5.7.1 100%% sure%\0"), Reply(550, "5.7.1 100% sure%")),
        (packet(b"y", b"421 4.7.0 bye\0"), Reply(421, "4.7.0 bye")),
        (packet(b"y", b"554\0"), Reply(554, "rejected")),
        (packet(b"y", b"554 caf\xc3\xa9 \x1b[2J\0"), Reply(554, "caf?  [2J")),
    ],
)
async def test_rejection_has_the_reply_of_the_milter(
    desk: Desk, answer: bytes, reply: Reply
) -> None:
    verdict = await desk.ask(ScriptedMilter(at_end=(answer,)))
    assert isinstance(verdict, Reject)
    assert verdict.reply == reply


def refusing(text: bytes, *names: bytes) -> ScriptedMilter:
    """Give a milter that has this answer to recipients whose address begins so."""

    def answer(kind: bytes, data: bytes) -> bytes:
        return packet(text[:1], text[1:]) if kind == b"R" and data.startswith(names) else b""

    return ScriptedMilter(answer=answer)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"y550 5.1.1 who\0", Reply(550, "5.1.1 who")),
        (b"r", Reply(550, "5.7.1 recipient rejected")),
    ],
)
async def test_recipient_that_is_refused_does_not_get_the_message(
    desk: Desk, answer: bytes, reply: Reply
) -> None:
    script, second, copy = refusing(answer, b"<bob"), ScriptedMilter(), desk.copy()
    async with serving(script) as place, serving(second) as other:
        verdict = await desk.run(f"milter:{place}", f"milter:{other}", copy=copy)
        refused = (RefusedRecipient(BOB, reply, f"milter:{place}"),)
    assert verdict == Accept(refused=refused)
    assert script.steps_heard == "OCHMRRTLLNBE"
    assert second.told(b"R") == [b"<ann@y.test>\0"]
    # It is in the envelope, for the notice to the sender.
    after = envelope_format.parse(copy.envelope.read_bytes()).envelope
    assert after.recipients == (ANN, BOB)


async def test_local_recipient_that_is_refused_stays_local(desk: Desk) -> None:
    copy = desk.copy()
    verdict = await desk.ask(refusing(b"r", b"<ann"), copy)
    assert [each.address for each in verdict.refused] == [ANN]
    after = envelope_format.parse(copy.envelope.read_bytes()).envelope
    assert (after.to_local, after.to_remote) == ((ANN,), (BOB,))


async def test_refused_recipient_is_not_in_the_copy_of_a_client_filter(desk: Desk) -> None:
    copy = desk.copy()
    verdict = await desk.ask(refusing(b"r", b"<bob"), copy, side=Side.CLIENT)
    assert [each.address for each in verdict.refused] == [BOB]
    assert envelope_format.parse(copy.envelope.read_bytes()).envelope.recipients == (ANN,)


async def test_message_is_rejected_if_all_recipients_are(desk: Desk) -> None:
    script = refusing(b"y550 5.1.1 who\0", b"<")
    verdict = await desk.ask(script)
    assert isinstance(verdict, Reject)
    assert verdict.reply == Reply(550, "5.1.1 who")
    assert verdict.reason == "the milter says 550 5.1.1 who for <ann@y.test>"
    assert script.steps_heard == "OCHMRR"


async def test_message_waits_for_a_recipient_refused_for_now(desk: Desk) -> None:
    for answer in (b"t", b"y451 4.7.1 greylisted\0"):
        verdict = await desk.ask(refusing(answer, b"<bob"))
        assert isinstance(verdict, Reject)
        assert not verdict.reply.permanent
        assert verdict.reason.endswith(" for <bob@y.test>")


async def test_sender_is_told_of_refused_recipients_of_a_dropped_message(desk: Desk) -> None:
    dropping = refusing(b"r", b"<bob")
    dropping.at_end = (packet(b"d"),)
    removing = refusing(b"r", b"<bob")
    removing.at_end = (packet(b"-", b"<ann@y.test>\0"), CONTINUE)
    for script in (dropping, removing):
        verdict = await desk.ask(script)
        assert isinstance(verdict, Abandon)
        assert [each.address for each in verdict.refused] == [BOB]


async def test_temporary_rejection_of_a_client_filter_waits(desk: Desk) -> None:
    for answer, kind in ((packet(b"t"), BrokenFilter), (packet(b"r"), Reject)):
        verdict = await desk.ask(ScriptedMilter(at_end=(answer,)), side=Side.CLIENT)
        assert isinstance(verdict, kind)
