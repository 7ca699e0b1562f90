"""The state of an account in its file."""

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.oauth_values import HIDDEN, token, trouble

from emailrelay.oauth import state
from emailrelay.oauth.clocks import ClockReading
from emailrelay.oauth.credentials import OAuthCredentials
from emailrelay.oauth.state import SignIn, TokenTrouble
from emailrelay.oauth.token import Issued, Token
from emailrelay.secrets import Secret

# The stored state


_READINGS = st.builds(
    ClockReading, wall=st.floats(0, 1e10), uptime=st.floats(0, 1e9), boot=st.text()
)
_SECRETS = st.text(min_size=1).map(Secret)
_STATES = st.builds(
    SignIn,
    identity=st.text(),
    seed=st.text(),
    refresh_token=st.none() | _SECRETS,
    token=st.none()
    | st.builds(
        Token,
        text=_SECRETS,
        issued=_READINGS,
        lifetime=st.floats(1, 1e6),
        renew_at=st.floats(1, 1e6),
    ),
    trouble=st.none()
    | st.builds(
        TokenTrouble,
        reason=st.text(),
        advice=st.text(),
        at=_READINGS,
        times=st.integers(1, 9),
        lasting=st.booleans(),
        secrets=st.text(),
    ),
)


@given(_STATES)
def test_state_comes_back_from_its_file(kept: SignIn) -> None:
    octets = state.write(kept)
    assert state.write(state.read(octets, kept.identity)) == octets


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda found: json.dumps(found).encode()
    )
)
def test_file_that_cannot_be_understood_counts_as_none(octets: bytes) -> None:
    assert state.read(octets, "i") == SignIn(identity="i")


def test_state_of_other_settings_counts_as_none() -> None:
    octets = state.write(SignIn(identity="other", token=token(), refresh_token=Secret("r")))
    assert state.read(octets, "i") == SignIn(identity="i")


def test_nothing_shows_a_secret() -> None:
    kept = SignIn(identity="i", token=token(), refresh_token=Secret(HIDDEN))
    issued = Issued(token=token(), refresh_token=Secret(HIDDEN))
    for shown in (kept, issued, token(), OAuthCredentials(client_secret=Secret(HIDDEN))):
        assert HIDDEN not in repr(shown) + str(shown)


def test_refresh_token_stays_unless_a_new_one_comes() -> None:
    kept = SignIn(identity="i", refresh_token=Secret("old"), trouble=trouble())
    same = state.after_success(kept, Issued(token=token()), seed="s")
    new = state.after_success(kept, Issued(token=token(), refresh_token=Secret("new")), seed="s")
    found = [s.refresh_token.reveal() if s.refresh_token else None for s in (same, new)]
    assert found == ["old", "new"]
    assert same.trouble is None
