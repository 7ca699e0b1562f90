"""Aliases lead names of this host to people, whatever the table says, and no other address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.aliases import MOST_ADDRESSES, Aliases, read_table
from emailrelay.envelope import Address

ANN, BOB = "ann@x.test", "bob@y.test"
TABLE = {"root": [ANN], "Ops": ["root", BOB], "web": ["ops", ANN]}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("root", [ANN]),
        ("ROOT", [ANN]),
        ("root@localhost", [ANN]),
        ("root@localhost.localdomain", [ANN]),
        ("root@Relay.Test", [ANN]),
        ("ops", [ANN, BOB]),
        ("web", [ANN, BOB]),
        ("root@elsewhere.test", ["root@elsewhere.test"]),
        ("other", ["other"]),
        ("", [""]),
        ("@", ["@"]),
        ("a@b@relay.test", ["a@b@relay.test"]),
    ],
)
def test_names_of_this_host_have_aliases(address: str, expected: list[str]) -> None:
    aliases = Aliases.of(TABLE, "relay.test")
    assert list(aliases.resolve(Address(address))) == expected


def test_star_takes_the_names_without_an_alias_of_their_own() -> None:
    aliases = Aliases.of({"root": [ANN], "*": [BOB]}, "relay.test")
    assert aliases.resolve(Address("root")) == (ANN,)
    assert aliases.resolve(Address("backup@relay.test")) == (BOB,)
    assert aliases.resolve(Address("backup@elsewhere.test")) == ("backup@elsewhere.test",)
    assert aliases.resolve(Address("")) == ("",), "the null sender is no name"


@pytest.mark.parametrize("name", ["root", "backup", "admin", "root@relay.test", "admin@relay.test"])
@pytest.mark.parametrize("star", ["admin@relay.test", "root"])
def test_star_is_not_for_an_address_that_the_table_gives(name: str, star: str) -> None:
    aliases = Aliases.of({"root": ["admin@relay.test", BOB], "*": [star, BOB]}, "relay.test")
    assert aliases.resolve(Address(name)) == ("admin@relay.test", BOB)


def test_star_takes_the_names_at_localhost_that_the_table_gives() -> None:
    aliases = Aliases.of({"root": ["ops@localhost"], "*": [ANN]}, "relay.test")
    assert aliases.resolve(Address("root")) == (ANN,)


def test_loop_ends() -> None:
    aliases = Aliases.of({"a": ["b"], "b": ["a", ANN], "c": ["c"]})
    assert aliases.resolve(Address("a")) == (ANN,)
    assert aliases.resolve(Address("c")) == ("c",)


def test_number_of_addresses_is_bounded() -> None:
    aliases = Aliases.of({"all": [f"u{n}@x.test" for n in range(5000)]})
    assert len(aliases.resolve(Address("all"))) == MOST_ADDRESSES


_NAMES = st.sampled_from(["a", "b", "c", "*", "d@localhost", ANN, "a@elsewhere.test"])


@given(st.dictionaries(_NAMES, st.lists(_NAMES, max_size=4)), _NAMES)
def test_each_address_leads_somewhere_and_only_once(
    table: dict[str, list[str]], address: str
) -> None:
    found = Aliases.of(table).resolve(Address(address))
    assert found
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"root": ANN}, {"root": [ANN]}),
        ({"root": [ANN, BOB]}, {"root": [ANN, BOB]}),
        ({"root": f"{ANN}, {BOB}"}, {"root": [ANN, BOB]}),
        (f"root={ANN},{BOB} web=root", {"root": [ANN, BOB], "web": ["root"]}),
        ("", {}),
    ],
)
def test_table_can_be_written_in_several_ways(
    given: object, expected: dict[str, list[str]]
) -> None:
    assert read_table(given) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"root": "ann"}, "'root': leads to 'ann', which is not an address with a domain"),
        ({"root": "|/usr/bin/prog@x"}, ""),
        ({"root": "ann @x.test"}, "not an address"),
        ({"root": "-oQ/tmp@x.test"}, "not an address"),  # programs would read it as an option
        ({"root@x.test": ANN}, "must be a name without a domain"),
        ({"root": []}, "must have an address"),
        ({"a": "b", "b": "a"}, "'a': leads to 'a'"),
        ({"*": "nobody"}, "'*': leads to"),
        (["root"], "must be a table"),
    ],
)
def test_alias_that_leads_nowhere_is_a_mistake(given: object, said: str) -> None:
    if not said:
        read_table(given)  # an odd address, which another server may know
        return
    with pytest.raises(ValueError, match=said):
        read_table(given)
