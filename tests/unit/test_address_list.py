"""Address lists as programs write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.submit.address_list import AddressListError, mailboxes


def found(text: str) -> list[str]:
    return [mailbox.address for mailbox in mailboxes(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("bob@x.test", ["bob@x.test"]),
        ("bob", ["bob"]),
        ("a@x, b@y", ["a@x", "b@y"]),
        # RFC 5322 section 4.4: empty elements
        ("a@x,", ["a@x"]),
        (",, a@x ,\r\n , b@y,", ["a@x", "b@y"]),
        # a semicolon separates in some programs
        ("a@x; b@y;", ["a@x", "b@y"]),
        # names
        ("Bob Smith <b@x>", ["b@x"]),
        ('"Smith, Bob" <b@x>', ["b@x"]),
        ('"a \\" <c@y>" <b@x>', ["b@x"]),
        ("John Q. Public <j@x>", ["j@x"]),
        ("=?utf-8?q?Andr=C3=A9?= Pirard <p@x>", ["p@x"]),
        ("[Sales] Bob <b@x>", ["b@x"]),
        ("<b@x>", ["b@x"]),
        ("Ünï <ünï@exämple.test>", ["ünï@exämple.test"]),
        ("b@x <b@x>, B@X <b@x>", ["b@x", "b@x"]),
        ("'b@x' <b@x>, 'B@X' (Bob) <b@x>", ["b@x", "b@x"]),
        ("Bob @ Work <b@x>, Bob @Work <b@x>, Bob@ <b@x>", ["b@x", "b@x", "b@x"]),
        ("Bob b@x <b@x>", ["b@x"]),
        # comments
        ("b@x (Bob)", ["b@x"]),
        ("(Bob (the \\) one), or not) b@x", ["b@x"]),
        ("root (Cron Daemon)", ["root"]),
        ("a (c) . (d) b @ (e) x . y (f)", ["a.b@x.y"]),
        ("Bob (c, d@y) <b@x (f)> (g)", ["b@x"]),
        # quoted local parts and literals
        ('"a b"@x', ['"a b"@x']),
        ('"a,b"@x, c@y', ['"a,b"@x', "c@y"]),
        ('"a"."b"@x', ['"a"."b"@x']),
        ("a@[127.0.0.1], b@[IPv6:::1]", ["a@[127.0.0.1]", "b@[IPv6:::1]"]),
        ("a@[127.0.0.1] <a@[127.0.0.1]>", ["a@[127.0.0.1]"]),
        # groups
        ("undisclosed-recipients:;", []),
        ("undisclosed recipients: ;", []),
        ("undisclosed-recipients:", []),
        ("A Group: Ed <e@x>, j@y,; k@z", ["e@x", "j@y", "k@z"]),
        ('"a: b": c@x;', ["c@x"]),
        # a source route is ignored
        ("<@a.test,@b.test:c@x>", ["c@x"]),
        ("Bob <@a.test:c@x>, d@y", ["c@x", "d@y"]),
        # dots that are wrong, and in use
        ("a..b@x, .c@x, d.@x", ["a..b@x", ".c@x", "d.@x"]),
        ("a!b%c@x", ["a!b%c@x"]),
    ],
)
def test_mailboxes_of_a_list(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a@x b@y",
        "Bob Smith",
        '"Bob Smith"',
        "Bob <b@x> c@y",
        "<a@x> <b@y>",
        "a@x <b@y>",
        "a@x Bob <b@y>",
        "Ann <a@x> Bob b@y",
        "Ann a@x Bob <b@y>",
        "'a@x' <b@y>",
        "<a@x",
        "a@x>",
        "<a@x, b@y>",
        "<>",
        "Bob <>",
        "a@",
        "@x",
        "a@b@c",
        "a@x:25",
        "g: h: a@x;;",
        ": a@x;",
        '"Bob <b@x>',
        "(Bob b@x",
        "b@x)",
        "b@[127.0.0.1",
        "b@x\\y",
        "a\0@x",
        "a@x\x7f",
        'a@"x"',
        "a@[1][2]",
        ".",
        "<@a.test>",
        "<@a.test:>",
    ],
)
def test_list_that_does_not_tell_every_address_is_refused(text: str) -> None:
    for listed in (text, f"good@x.test, {text}", f"{text}, good@x.test"):
        with pytest.raises(AddressListError):
            mailboxes(listed)


ATOM = st.text("abcXYZ019!#$%&'*+-/=?^_`{|}~éß李", min_size=1, max_size=8)
QUOTED = st.text("ab ,;:<>@()[].é", max_size=8).map(lambda text: f'"{text}"')
COMMENT = st.text('ab ,;:<>@[]."é', max_size=8).map(lambda text: f"({text})")
SPACE = st.one_of(st.sampled_from(["", " ", "\t", "\r\n "]), COMMENT)
DOMAIN = st.one_of(ATOM, st.lists(ATOM, min_size=2, max_size=3).map(".".join), st.just("[::1]"))
LOCAL = st.one_of(ATOM, st.lists(ATOM, min_size=2, max_size=3).map(".".join), QUOTED)
SEPARATOR = st.tuples(SPACE, st.sampled_from([",", ";", ",,", ", ,"]), SPACE).map("".join)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, str]:
    """Give an address, and a way to write it in a list."""
    address = f"{draw(LOCAL)}@{draw(DOMAIN)}"
    before, between, behind = draw(SPACE), draw(SPACE), draw(SPACE)
    if draw(st.booleans()):
        return address, f"{before}{address}{behind}"
    name = " ".join(draw(st.lists(st.one_of(ATOM, QUOTED), max_size=3)))
    return address, f"{before}{name}{between} <{address}>{behind}"


@given(st.lists(st.tuples(written(), SEPARATOR), max_size=6))
def test_every_address_is_found_however_it_is_written(
    entries: list[tuple[tuple[str, str], str]],
) -> None:
    text = "".join(entry + separator for (_, entry), separator in entries)
    assert found(text) == [address for (address, _), _ in entries]


@given(st.text(alphabet='ab.@<>,;:"\\()[] \r\n\té\0', max_size=60))
def test_any_text_gives_addresses_of_itself_or_an_error(text: str) -> None:
    try:
        boxes = mailboxes(text)
    except AddressListError:
        return
    for mailbox in boxes:
        assert 0 <= mailbox.start < mailbox.end <= len(text)
        shown = text[mailbox.start : mailbox.end]
        assert mailbox.local[0] == shown[0]
        assert found(shown) == [mailbox.address], "an address is found again where it stood"


@pytest.mark.parametrize(
    "piece", ["(", "<", '"', "[", "a@x,", "a.", "a ", "\\", ",", "(a)", "<a@x>"]
)
def test_long_text_takes_no_quadratic_time(piece: str) -> None:
    text = piece * (50_000 // len(piece))
    try:
        mailboxes(text)
    except AddressListError as error:
        assert len(str(error)) < 200  # noqa: PT017 - both ways are right
