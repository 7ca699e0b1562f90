"""The route of mail, and its envelope sender there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.address_pattern import check_pattern, matches
from emailrelay.envelope import NULL_SENDER, Address, Envelope
from emailrelay.routes import (
    Choice,
    Rate,
    Route,
    Routes,
    by_route,
    parse_rate,
    sender_on,
)

ANN, BOB, CAT = Address("ann@a.example"), Address("bob@b.example"), Address("cat@x.b.example")
DEFAULT = Route(name="default", smarthosts=("smart:25",))


def route(
    name: str,
    *,
    sender: tuple[str, ...] = ("*",),
    recipient: tuple[str, ...] = ("*",),
    user: tuple[str, ...] | None = None,
) -> Route:
    smarthosts = (f"{name}:25",)
    return Route(name=name, smarthosts=smarthosts, sender=sender, recipient=recipient, user=user)


def envelope(
    *, sender: str = ANN, user: str = "", forward_to: str = "", server: str = "", account: str = ""
) -> Envelope:
    return Envelope(
        sender=Address(sender),
        to_remote=(BOB,),
        authentication=user,
        forward_to=forward_to,
        forward_to_address=server,
        account_selector=account,
    )


def chosen(routes: Routes, sent: Envelope, recipient: Address = BOB) -> tuple[str, str]:
    choice = routes.choose(sent, recipient)
    assert choice.route is not None
    return choice.route.name, choice.why


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("*", ["", "a@b", "postmaster"], []),
        ("<>", [""], ["a@b"]),
        ("b.example", ["bob@b.example", "BOB@B.Example"], ["cat@x.b.example", "b.example", ""]),
        ("*.b.example", ["cat@x.b.example", "c@y.x.b.example"], ["bob@b.example", "c@xb.example"]),
        ("*@b.example", ["bob@b.example"], ["cat@x.b.example"]),
        ("*@*.b.example", ["cat@x.b.example"], ["bob@b.example"]),
        ("Bob@b.example", ["bob@B.EXAMPLE"], ["rob@b.example", "bob@x.b.example"]),
        ("[192.0.2.1]", ["a@[192.0.2.1]"], ["a@192.0.2.1"]),
        ('b"', [], ['"a@b"']),
    ],
)
def test_patterns_fit_addresses(pattern: str, fitting: list[str], others: list[str]) -> None:
    assert [address for address in fitting + others if matches(pattern, address)] == fitting


@pytest.mark.parametrize("pattern", ["*", "<>", "a@b", "b.c", "*.b.c", "a+b@c", "a@[IPv6:::1]"])
def test_what_is_a_pattern_is_taken(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["", "a*", "a@*.b", "@b", "a b", "<a@b>", "**", "*.", "a@"])
def test_what_is_no_pattern_is_told_what_to_write(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\*\.domain"):
        check_pattern(pattern)


@given(st.text(max_size=9), st.text(max_size=9))
def test_any_address_can_be_asked_about(pattern: str, address: str) -> None:
    matches(pattern, address)


def test_the_first_route_that_fits_takes_the_mail() -> None:
    routes = Routes((route("one", recipient=("x.example",)), route("two"), route("three")), DEFAULT)

    assert chosen(routes, envelope()) == ("two", "it takes all mail")


def test_all_of_sender_recipient_and_user_must_fit() -> None:
    one = route("one", sender=("a.example",), recipient=("c.example", "b.example"), user=("Ann",))
    routes = Routes((one,), DEFAULT)

    name, why = chosen(routes, envelope(user="ann"))
    assert name == "one"
    assert why == (
        "its user Ann logged in and its sender pattern a.example matches and "
        "its recipient pattern b.example matches"
    )
    for other in (envelope(user="bob"), envelope(), envelope(user="ann", sender="x@y")):
        assert chosen(routes, other)[0] == "default"
    assert chosen(routes, envelope(user="ann"), CAT)[0] == "default"


def test_any_user_is_still_one_who_logged_in() -> None:
    routes = Routes((route("users", user=("*",)),), DEFAULT)

    assert chosen(routes, envelope(user="ann"))[0] == "users"
    assert chosen(routes, envelope())[0] == "default"


def test_why_a_route_does_not_fit_is_told() -> None:
    routes = Routes(
        (
            route("one", sender=("x.example", "<>")),
            route("two", user=("ann", "bob")),
            route("three"),
            route("four", sender=("x.example",)),
        )
    )

    def passed(sent: Envelope) -> list[tuple[str, str]]:
        return [(other.name, why) for other, why in routes.passed_over(sent, BOB)]

    assert passed(envelope()) == [
        ("one", "its sender pattern x.example or <> does not match"),
        ("two", "no user logged in, not ann or bob"),
    ]
    assert passed(envelope(user="cat"))[1] == ("two", "cat logged in, not ann or bob")
    assert passed(envelope(sender="a@x.example")) == []


def test_notices_have_a_route_of_their_own_if_one_asks_for_them() -> None:
    routes = Routes((route("notices", sender=("<>",)),), DEFAULT)

    assert chosen(routes, envelope(sender=NULL_SENDER))[0] == "notices"
    assert chosen(routes, envelope())[0] == "default"


def test_the_choice_is_explained_when_nothing_fits() -> None:
    one = route("one", recipient=("x.example",))

    assert Routes((one,), DEFAULT).choose(envelope(), BOB) == Choice(
        DEFAULT, "no [[route]] matches, so forward_to is used"
    )
    assert Routes((one,)).choose(envelope(), BOB) == Choice(
        None, "no [[route]] matches, and forward_to is not set"
    )


PATTERNS = st.sampled_from(
    ["*", "<>", "a@x.y", "A@X.y", "x.y", "*.y", "*.x.y", "*@x.y", "*@*.y", "y", "", "*.", '"a@x"']
)
ADDRESSES = st.sampled_from(
    ["", "a@x.y", "b@x.y", "a@X.Y", "a@w.x.y", "a@y", "a@.y", "a@<>", "a@*.y", '"a@x"', "x.y", "a"]
)
USERS = st.sampled_from(["*", "ann", "Ann", "bob", ""])
PATTERN_LISTS = st.lists(PATTERNS, max_size=3).map(tuple)


@given(
    st.lists(
        st.tuples(PATTERN_LISTS, PATTERN_LISTS, st.none() | st.lists(USERS, max_size=2).map(tuple)),
        max_size=6,
    ),
    ADDRESSES,
    ADDRESSES,
    USERS,
    st.sampled_from(["", "x.y", "a@x.y"]),
)
def test_the_choice_is_that_of_a_walk_over_all_routes(
    lists: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]],
    sender: str,
    recipient: str,
    user: str,
    forward_to: str,
) -> None:
    listed = tuple(
        route(f"r{place}", sender=senders, recipient=recipients, user=users)
        for place, (senders, recipients, users) in enumerate(lists)
    )
    routes, sent = Routes(listed), envelope(sender=sender, user=user, forward_to=forward_to)
    passed_over = routes.passed_over(sent, Address(recipient))  # a plain walk
    expected = next(iter(listed[len(passed_over) :]), None)

    choice = routes.choose(sent, Address(recipient))

    assert choice.route == expected
    if expected is not None:
        assert Routes((expected,)).choose(sent, Address(recipient)).why == choice.why


def test_the_server_that_the_envelope_names_goes_first_without_credentials() -> None:
    with_account = Route(name="default", smarthosts=("s:25",), account="isp", connections=1)
    choice = Routes((route("all"),), with_account).choose(envelope(server="other:26"), BOB)

    assert choice.route is not None
    assert choice.route.smarthosts == ("other:26",)
    assert (choice.route.account, choice.route.connections) == (None, None)


def test_the_domain_that_the_envelope_names_stands_for_the_recipient() -> None:
    routes = Routes((route("b", recipient=("b.example",)), route("c", recipient=("*.c.example",))))

    assert chosen(routes, envelope(forward_to="x.c.example"))[0] == "c"


def test_the_account_that_the_envelope_names_is_used_on_whichever_route() -> None:
    choice = Routes((), DEFAULT).choose(envelope(account="second"), BOB)

    assert choice.route is not None
    assert choice.route.account == "second"
    assert "second" in choice.why


def test_recipients_are_grouped_by_route_in_their_order() -> None:
    b = route("b", recipient=("b.example", "*.b.example"))

    found = by_route(Routes((b,), DEFAULT), envelope(), [BOB, ANN, CAT])

    assert [(group.route, group.recipients) for group in found] == [
        (b, (BOB, CAT)),
        (DEFAULT, (ANN,)),
    ]


@pytest.mark.parametrize(
    ("envelope_from", "sender", "seen"),
    [
        (None, "a@b", "a@b"),
        ("c.example", "a@b", "a@c.example"),
        ("c.example", "root", "root@c.example"),
        ("c.example", '"a@b"@d', '"a@b"@c.example'),
        ("c.example", '"a@b"', '"a@b"@c.example'),
        ("relay@c", "a@b", "relay@c"),
        ("c.example", "", ""),
        ("relay@c", "", ""),
    ],
)
def test_the_sender_is_rewritten_but_never_the_null_sender(
    envelope_from: str | None, sender: str, seen: str
) -> None:
    way = Route(name="r", smarthosts=("s:25",), envelope_from=envelope_from)

    assert sender_on(way, Address(sender)) == seen


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("30/m", Rate(30, 60)),
        ("500/10m", Rate(500, 600)),
        ("1/s", Rate(1, 1)),
        ("9/2d", Rate(9, 172800)),
    ],
)
def test_a_rate_is_messages_in_a_time(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "30", "0/m", "1/0m", "30/x", "-1/m", "1.5/m", "30/m "])
def test_what_is_no_rate_is_told_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="30/m"):
        parse_rate(text)
