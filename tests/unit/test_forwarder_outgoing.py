"""The results of an edited envelope for the original recipients."""

from collections.abc import Mapping

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import History
from emailrelay.reply import Reply
from emailrelay_forwarder.delivery.outgoing import everybody, for_all

OK, LATER, NEVER = Reply(250, "2.0.0 ok"), Reply(451, "4.3.0 later"), Reply(550, "5.1.1 nobody")


def mail(names: str) -> Envelope:
    return Envelope(sender=Address("s@x"), to_remote=tuple(Address(name) for name in names))


def meaning(came: str, sent: str, before: str = "", **replies: Reply) -> Mapping[str, Reply]:
    """Answer for single letters; recipients in ``before`` got the message in earlier attempts."""
    history = History(delivered={Address(name): OK for name in before})
    named = {Address(name): reply for name, reply in replies.items()}
    return {
        str(who): reply for who, reply in for_all(mail(came), mail(sent), named, history).items()
    }


def test_untouched_recipients_have_their_own_answers() -> None:
    assert meaning("ab", "ab", a=OK, b=LATER) == {"a": OK, "b": LATER}
    assert meaning("ab", "ab", a=OK) == {"a": OK}


def test_rewritten_recipient_has_the_answer_of_the_one_in_its_place() -> None:
    assert meaning("ab", "xb", x=NEVER, b=OK) == {"x": NEVER, "b": OK, "a": NEVER}
    assert meaning("ab", "xy", x=OK, y=LATER) == {"x": OK, "y": LATER, "a": OK, "b": LATER}
    assert meaning("ab", "xy", x=OK) == {"x": OK, "a": OK}


def test_recipient_whose_substitute_was_reached_earlier_is_done() -> None:
    assert meaning("ab", "xy", before="x", y=OK) == {"y": OK, "a": OK, "b": OK}


def test_recipient_replaced_by_several_is_done_when_all_of_them_are() -> None:
    assert meaning("a", "xy", x=OK, y=OK)["a"] == OK
    assert meaning("a", "xy", x=OK, y=LATER)["a"] == LATER
    assert meaning("a", "xy", x=NEVER, y=LATER)["a"] == LATER
    assert meaning("a", "xy", x=OK, y=NEVER)["a"] == NEVER
    assert "a" not in meaning("a", "xy", x=OK)


def test_recipient_left_out_is_done_with() -> None:
    assert meaning("ab", "a", a=LATER)["b"].accepted


def test_recipient_that_was_only_moved_leaves_no_place_behind() -> None:
    assert meaning("ab", "bx", b=OK, x=LATER)["a"] == LATER


def test_message_is_for_those_added_as_well() -> None:
    assert everybody(mail("ab"), mail("ax")).recipients == mail("abx").recipients
    assert everybody(mail("ab"), mail("a")) == mail("ab")


def test_recipient_added_changes_nothing_for_the_others() -> None:
    assert meaning("a", "ax", a=OK, x=NEVER) == {"a": OK, "x": NEVER}


def test_settled_recipient_stays_as_it_is() -> None:
    assert meaning("ab", "xb", before="a", x=NEVER, b=OK) == {"x": NEVER, "b": OK}
