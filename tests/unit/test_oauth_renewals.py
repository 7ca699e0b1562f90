"""The rules of OAuth2 on tokens: when one is good, renewed, or tried again."""

from dataclasses import replace

import pytest
from tests.unit.oauth_values import HIDDEN, START, at, token, trouble

from emailrelay.oauth.state import Pause, Renew, SignIn, TokenUse, next_step
from emailrelay.oauth.token import expires, is_due, is_good, parse

# Tokens


@pytest.mark.parametrize("lifetime", [1.0, 30.0, 300.0, 3600.0, 86400.0])
def test_token_is_due_before_it_ends_and_not_at_once(lifetime: float) -> None:
    for chance in (0.0, 0.99):
        answer = {"access_token": "t", "token_type": "bearer", "expires_in": lifetime}
        found = parse(answer, asked=START, chance=chance).token
        assert not is_due(found, START)
        assert is_good(found, at(found.renew_at))
        assert is_due(found, at(found.renew_at + 0.001))
        assert not is_good(found, at(lifetime))


def test_renewals_are_spread() -> None:
    answer = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
    early, late = (parse(answer, asked=START, chance=c).token.renew_at for c in (1.0, 0.0))
    assert (early, late) == (3000.0, 3300.0)


@pytest.mark.parametrize("said", [None, "soon", 0, -5, float("nan"), float("inf"), [], "1e999"])
def test_token_whose_life_is_not_told_is_kept_shortly(said: object) -> None:
    answer = {"access_token": "t", "token_type": "Bearer", "expires_in": said}
    assert parse(answer, asked=START, chance=0).token.lifetime == 600


def test_lifetime_may_be_written_as_a_text() -> None:
    answer = {"access_token": "t", "token_type": "Bearer", "expires_in": "3599"}
    assert expires(parse(answer, asked=START, chance=0).token) == START.wall + 3599


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": "", "token_type": "Bearer"},
        {"access_token": 5, "token_type": "Bearer"},
        {"access_token": f"{HIDDEN}\r\nMAIL", "token_type": "Bearer"},
        {"access_token": f"{HIDDEN}\x01", "token_type": "Bearer"},
        {"access_token": HIDDEN * 10_000, "token_type": "Bearer"},
        {"access_token": HIDDEN},
        {"access_token": HIDDEN, "token_type": "mac"},
        {"access_token": HIDDEN, "token_type": "Bearer", "refresh_token": f"{HIDDEN} "},
        {"access_token": HIDDEN, "token_type": "Bearer", "refresh_token": 7},
    ],
)
def test_unusable_answer_is_refused_and_not_shown(answer: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"answer has|not of type") as caught:
        parse(answer, asked=START, chance=0)
    assert HIDDEN not in str(caught.value)


# Remedies


def test_good_token_is_used() -> None:
    found = next_step(SignIn(identity="i", token=token()), refused=False, secrets="", now=at(100))
    assert isinstance(found, TokenUse)
    assert not found.renew


def test_old_token_is_used_and_renewed_meanwhile() -> None:
    found = next_step(SignIn(identity="i", token=token()), refused=False, secrets="", now=at(3400))
    assert isinstance(found, TokenUse)
    assert found.renew


@pytest.mark.parametrize("seconds", [3590, 3600, 1e6])
def test_ended_token_is_renewed_first(seconds: float) -> None:
    kept = SignIn(identity="i", token=token())
    assert next_step(kept, refused=False, secrets="", now=at(seconds)) == Renew()


def test_refused_token_is_renewed_unless_it_is_new() -> None:
    kept = SignIn(identity="i", token=token())
    assert next_step(kept, refused=True, secrets="", now=at(61)) == Renew()
    assert isinstance(next_step(kept, refused=True, secrets="", now=at(59)), TokenUse)


def test_good_token_is_used_on_while_renewing_fails() -> None:
    kept = SignIn(identity="i", token=token(issued=at(-3400)), trouble=trouble())
    found = next_step(kept, refused=False, secrets="", now=at(5))
    assert isinstance(found, TokenUse)
    assert not found.renew


def test_pauses_between_failed_renewals_grow_to_ten_minutes() -> None:
    def paused(times: int, seconds: float) -> bool:
        kept = SignIn(identity="i", trouble=trouble(times=times))
        return isinstance(next_step(kept, refused=False, secrets="", now=at(seconds)), Pause)

    assert [paused(1, 14), paused(1, 15)] == [True, False]
    assert [paused(2, 29), paused(2, 30)] == [True, False]
    assert [paused(1000, 599), paused(1000, 600)] == [True, False]


def test_lasting_trouble_is_tried_again_when_a_secret_file_changes() -> None:
    kept = SignIn(identity="i", trouble=trouble(lasting=True, secrets="old"))
    assert isinstance(next_step(kept, refused=False, secrets="old", now=at(500)), Pause)
    assert next_step(kept, refused=False, secrets="new", now=at(500)) == Renew()


def test_clock_set_back_does_not_prolong_a_pause() -> None:
    kept = SignIn(identity="i", trouble=trouble())
    now = replace(at(20), wall=START.wall - 86400)
    assert next_step(kept, refused=False, secrets="", now=now) == Renew()
