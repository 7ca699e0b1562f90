"""Servers that ask for less mail for a while."""

import pytest

from emailrelay.reply import Reply
from emailrelay_forwarder.server.throttle_replies import ThrottleWish, for_now, wish_of

FEWER, SLOWER, LATER = ThrottleWish.FEWER, ThrottleWish.SLOWER, ThrottleWish.LATER


@pytest.mark.parametrize(
    ("reply", "wish"),
    [
        (Reply(421, "4.7.0 Too many messages for this session"), FEWER),
        (Reply(450, "4.7.1 Error: too much mail, sending limit exceeded"), SLOWER),
        (Reply(451, "4.7.500 Server busy, rate limited"), SLOWER),
        (Reply(432, "4.3.2 Concurrent connections limit exceeded"), FEWER),
        (Reply(452, "4.4.5 Message quota, slow down"), SLOWER),
        (Reply(450, "4.7.0 our rate limit there is reached: 550 5.4.5 x"), LATER),
        # Amazon SES has no enhanced code in these.
        (Reply(454, "Throttling failure: Maximum sending rate exceeded."), SLOWER),
        (Reply(454, "4.7.0 Throttling failure: Maximum sending rate exceeded."), SLOWER),
        (Reply(454, "Throttling failure: Daily message quota exceeded."), LATER),
        (Reply(450, "Too many messages, slow down"), SLOWER),
        (Reply(421, "too many concurrent connections"), FEWER),
        (Reply(452, "hourly sending limit reached"), LATER),
        # Postfix: anvil, and a policy server.
        (Reply(450, "4.7.1 Error: too much mail from 192.0.2.1"), SLOWER),
        (Reply(450, "4.7.1 <h[192.0.2.1]>: Client host rejected: Message quota exceeded"), LATER),
        # Microsoft 365.
        (Reply(432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"), SLOWER),
        (Reply(451, "4.7.500 Server busy. Please try again later, rate limit (S77714)"), SLOWER),
        # Gmail.
        (Reply(450, "4.7.28 Our system has detected an unusual rate of unsolicited mail"), SLOWER),
    ],
)
def test_words_about_our_amount_of_mail_slow_us_down(reply: Reply, wish: ThrottleWish) -> None:
    assert wish_of(reply) is wish


@pytest.mark.parametrize(
    "reply",
    [
        Reply(451, "4.7.1 Greylisted, please try again in 300 seconds"),
        Reply(452, "4.2.2 mailbox over quota"),
        Reply(452, "4.5.3 too many recipients"),
        Reply(450, "4.2.1 The user is receiving mail at a rate that is too high"),
        Reply(450, "4.2.2 mailbox over quota, throttled"),
        Reply(452, "mailbox quota exceeded"),
        Reply(452, "too many recipients"),
        Reply(451, "try again at any rate"),
        Reply(450, "please wait"),
        Reply(452, "message size limit exceeded"),
        Reply(450, "too many messages for this recipient, rate limit"),
        Reply(451, "the user you write to gets mail at too high a message rate"),
        Reply(550, "5.7.1 too many"),
        Reply(554, "Throttling failure"),
        Reply(250, "4.7.0 too many"),
        Reply(450, "4.7.1 <to@t.example>: Recipient address rejected: Mailbox quota exceeded"),
        Reply(450, "4.7.1 <to@t.example>: Recipient address rejected: User over quota"),
        Reply(450, "4.7.1 <to@t.example>: Quota exceeded (mailbox for user is full)"),
    ],
)
def test_words_about_one_recipient_or_message_do_not(reply: Reply) -> None:
    assert wish_of(reply) is None


@pytest.mark.parametrize(
    "reply",
    [
        Reply(550, "5.4.5 Daily user sending limit exceeded. For more information ..."),
        Reply(550, "5.1.90 Your message can't be sent because you've reached your daily limit"),
        Reply(550, "5.7.233 your tenant has exceeded its daily limit for external recipients"),
        Reply(554, "5.2.0 SubmissionQuotaExceededException; message quota exceeded"),
    ],
)
def test_a_days_share_that_is_used_up_is_temporary(reply: Reply) -> None:
    kept = for_now(reply)
    assert not kept.permanent
    assert reply.text in kept.text
    assert wish_of(kept) is ThrottleWish.LATER


@pytest.mark.parametrize(
    "reply",
    [
        Reply(550, "5.1.1 no such user"),
        Reply(552, "5.2.2 mailbox quota exceeded"),
        Reply(552, "5.2.0 mailbox quota exceeded"),
        Reply(552, "5.3.4 message size exceeds limit"),
        Reply(250, "2.0.0 ok"),
    ],
)
def test_other_answers_stand(reply: Reply) -> None:
    assert for_now(reply) is reply


CHOSEN = [
    "daily-quota@example.com",
    "rate@example.com",
    "rate.connection@example.com",
    "too-fast@throttle.daily.example",
    "daily-limit-exceeded@example.com",
]


@pytest.mark.parametrize("address", CHOSEN)
@pytest.mark.parametrize(
    "text",
    [
        "4.7.1 <{0}>: Recipient address rejected: Greylisted, see http://help.test/{0}.html",
        "4.7.1 {0}: Greylisting in action, please come back later",
        "<{0}>... Greylisting in action",
        "4.7.1 Access denied for {0}",
        "5.2.0 <{0}> is not known here",
    ],
)
def test_addresses_that_clients_choose_do_not(text: str, address: str) -> None:
    temporary, permanent = (Reply(code, text.format(address)) for code in (450, 550))
    assert wish_of(temporary) is None
    assert for_now(permanent) is permanent


@pytest.mark.parametrize("name", ["daily-quota", "rate.limit", "too-fast"])
def test_parts_of_the_commands_addresses_do_not(name: str) -> None:
    reply = Reply(450, f"4.7.1 the mailbox {name.upper()} is greylisted")
    assert wish_of(reply, f"{name}@example.com", "") is None
    assert wish_of(reply, "to@there.test", f"from@{name}") is None
