"""Refusals of recipients that mean too many recipients in a transaction."""

import pytest

from emailrelay.reply import Reply
from emailrelay_forwarder.delivery.recipient_limit import may_be_limit, names_limit, temporary


@pytest.mark.parametrize(
    "reply",
    [
        Reply(452, "4.5.3 too many recipients"),
        Reply(452, "4.3.2 Too many recipients"),
        Reply(451, "4.5.3 later"),
        Reply(552, "5.5.3 Maximum limit of 50 recipients reached"),
        Reply(550, "5.5.3 no"),
        Reply(552, "too many recipients"),
        Reply(550, "Too many RCPTs"),
        Reply(554, "5.7.1 too many recipients in this message"),
        Reply(503, "5.5.3 too many"),
        Reply(552, "Maximum number of recipients exceeded"),
        Reply(452, "recipients limit reached"),
    ],
)
def test_limit_that_is_named_is_temporary(reply: Reply) -> None:
    assert names_limit(reply)
    assert may_be_limit(reply)
    assert not temporary(reply).permanent
    assert reply.text in temporary(reply).text


def test_bare_452_may_be_the_limit() -> None:
    assert may_be_limit(Reply(452, "no"))
    assert not names_limit(Reply(452, "no"))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(452, "4.2.2 mailbox full"),
        Reply(552, "5.2.2 mailbox full"),
        Reply(552, "Requested mail action aborted: exceeded storage allocation"),
        Reply(552, "5.2.2 too many messages for the recipients of this mailbox, limit reached"),
        Reply(550, "the recipient's mailbox has reached its limit"),
        Reply(552, "recipients are over their quota limit"),
        Reply(550, "5.1.1 no such user: too many recipients have left"),
        Reply(552, "5.3.4 message size exceeds limit"),
        Reply(503, "5.5.1 bad sequence of commands"),
        Reply(250, "2.1.5 too many recipients, but ok"),
    ],
)
def test_other_refusals_stand(reply: Reply) -> None:
    assert not may_be_limit(reply)
    assert temporary(reply) is reply


@pytest.mark.parametrize("address", ["max.recipients@example.com", "limit.rcpts@x.example"])
@pytest.mark.parametrize(
    "text",
    [
        "5.7.1 <{0}>: Relay access denied",
        "<{0}>: user unknown",
        "{0}... no such user",
        "no mail for {1} here",
    ],
)
def test_addresses_that_clients_choose_name_no_limit(address: str, text: str) -> None:
    reply = Reply(554, text.format(address, address.partition("@")[0]))
    assert not names_limit(reply, address, "")
    assert not names_limit(reply, "to@there.test", address)
    assert not may_be_limit(reply, address, "")
    assert temporary(reply, address, "") is reply


def test_recipient_that_is_named_after_the_limit_hides_it_not() -> None:
    reply = Reply(552, "<recipients@example.com>: maximum number of recipients reached")
    assert names_limit(reply, "recipients@example.com", "max@example.com")
