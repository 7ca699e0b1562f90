"""Replies that mean the same are one group, whatever addresses, ids and times they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.queue.pattern import fits_reply
from emailrelay.queue.reply_group import reply_group


@pytest.mark.parametrize(
    ("group", "replies"),
    [
        ("", [""]),
        ("450", ["450"]),
        ("451 4.3.0 busy", ["451 4.3.0 busy"]),
        (
            "450 4.2.0 <…>: Recipient address rejected: Greylisted, see https://postgrey.test/help?…",
            [
                "450 4.2.0 <ann@x.test>: Recipient address rejected: Greylisted, see https://postgrey.test/help?a=1",
                "450 4.2.0 <b.o.b@y.test>: Recipient address rejected: Greylisted, see https://postgrey.test/help?z",
            ],
        ),
        (
            "451 4.7.1 Greylisting in action, please come back in … seconds",
            [
                "451 4.7.1 Greylisting in action, please come back in 297 seconds",
                "451 4.7.1 Greylisting in action, please come back in 00:04:57 seconds",
            ],
        ),
        (
            "421 4.7.0 […] Our system has detected an unusual rate of mail. … - gsmtp",
            [
                (
                    "421 4.7.0 [192.0.2.1 15] Our system has detected an unusual rate of mail. "
                    "d2e1a72fcca58-7a1b2c3d4e5si1234567b3a.123 - gsmtp"
                ),
                (
                    "421 4.7.0 [2001:db8::1 4] Our system has detected an unusual rate of mail. "
                    "98e67ed59e1d1-3b1c2d.9 - gsmtp"
                ),
            ],
        ),
        (
            "550 5.1.1 no such user <…>",
            [
                "550 5.1.1 no such user <ann@x.test>",
                "550 5.1.1 no such user <bob@y.test> (and 12 more)",
            ],
        ),
        (
            "451 4.4.1 …: connection refused",
            [
                "451 4.4.1 10.0.0.1:25: connection refused",
                "451 4.4.1 mx2.y.test:587: connection refused",
            ],
        ),
        (
            "554 5.7.1 Message … rejected (id=…)",
            [
                "554 5.7.1 Message 1a2B3c rejected (id=77-88)",
                "554 5.7.1 Message 999 rejected (id=x1y2)",
            ],
        ),
        ("451 4.3.0 the IPv6 network is [down]", ["451 4.3.0 the IPv6 network is [down]"]),
        (
            "452 4.2.2 mailbox … is full",
            ["452 4.2.2 mailbox ann@x.test is full", "452 4.2.2 mailbox bob+tag@y.test is full"],
        ),
        ("451 said 4.7.1 then", ["451 said 4.7.1 then"]),
    ],
)
def test_varying_parts_do_not_split_a_group(group: str, replies: list[str]) -> None:
    assert {reply_group(reply) for reply in replies} == {group}


def test_codes_keep_groups_apart() -> None:
    replies = ["450 4.2.0 busy", "451 4.2.0 busy", "451 4.2.1 busy", "451 busy"]
    assert len({reply_group(reply) for reply in replies}) == len(replies)


@given(st.text(max_size=500))
def test_any_reply_is_of_one_group_which_finds_it_again(reply: str) -> None:
    group = reply_group(reply)
    assert len(group) <= 2 * len(reply) + 2
    assert reply_group(group) == group
    if not {"*", "?"} & set(reply):
        assert fits_reply(group, reply)


def test_brackets_of_a_pattern_stand_for_themselves() -> None:
    assert fits_reply("[a-z]", "451 set [A-Z] wrong")
    assert not fits_reply("[a-z]", "451 b")
