"""The rules of OAuth2 without I/O: settings, requests, ages, states."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from emailrelay.config.accounts import AccountSettings
from emailrelay.oauth import device, state
from emailrelay.oauth.clocks import ClockReading, age
from emailrelay.oauth.credentials import OAuthCredentials
from emailrelay.oauth.device import next_interval
from emailrelay.oauth.endpoint import TokenRefused, Unavailable
from emailrelay.oauth.request import client, endpoints, form, identity, statement
from emailrelay.oauth.state import Pause, Renew, SignIn, TokenTrouble, TokenUse, next_step
from emailrelay.oauth.token import Issued, Token, expires, is_due, is_good, parse
from emailrelay.oauth.trouble import diagnose
from emailrelay.secrets import Secret

START = ClockReading(wall=1_700_000_000.0, uptime=5000.0, boot="a")
HIDDEN = "s3cr3t-t0ken"


def at(seconds: float) -> ClockReading:
    return replace(START, wall=START.wall + seconds, uptime=START.uptime + seconds)


def token(lifetime: float = 3600.0, *, issued: ClockReading = START) -> Token:
    answer = {"access_token": HIDDEN, "token_type": "Bearer", "expires_in": lifetime}
    return parse(answer, asked=issued, chance=0.5).token


def trouble(*, times: int = 1, lasting: bool = False, secrets: str = "") -> TokenTrouble:
    return TokenTrouble(
        reason="no", advice="wait", at=START, times=times, lasting=lasting, secrets=secrets
    )


def account(**oauth2: Any) -> AccountSettings:
    table = {"name": "office", "mechanism": "xoauth2", "user": "me@x.test", "oauth2": oauth2}
    return AccountSettings.model_validate(table)


def problems(**oauth2: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        account(**oauth2)
    return str(caught.value)


MICROSOFT = {"provider": "microsoft", "tenant": "contoso.test", "client_id": "app"}
CUSTOM = {"client_id": "app", "token_url": "https://id.test/token"}


# Time


def test_age_is_the_time_passed() -> None:
    assert age(START, at(100)) == 100


def test_clock_set_back_makes_nothing_younger() -> None:
    now = replace(at(1000), wall=START.wall - 86400)
    assert age(START, now) == 1000


def test_clock_set_forward_makes_everything_older() -> None:
    assert age(START, replace(at(10), wall=START.wall + 5000)) == 5000


def test_after_a_restart_the_wall_clock_counts() -> None:
    assert age(START, ClockReading(wall=START.wall + 60, uptime=3.0, boot="b")) == 60


def test_moment_in_the_future_of_an_earlier_boot_is_long_ago() -> None:
    later = ClockReading(wall=START.wall - 60, uptime=3.0, boot="b")
    assert age(START, later) == float("inf")
    assert not is_good(token(), later)


def test_system_that_does_not_name_its_boots_has_only_a_wall_clock() -> None:
    since = replace(START, boot="")
    assert age(since, ClockReading(wall=START.wall + 5, uptime=9_999.0, boot="")) == 5


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


# Requests


def test_microsoft_is_known() -> None:
    secret = {"client_secret_file": "/s"}
    application = account(**MICROSOFT, grant="client-credentials", **secret).oauth2
    delegated = account(**MICROSOFT, grant="device-code").oauth2
    assert application is not None
    assert delegated is not None
    base = "https://login.microsoftonline.com/contoso.test/oauth2/v2.0"
    assert endpoints(application).token_url == f"{base}/token"
    assert endpoints(application).scope == "https://outlook.office365.com/.default"
    assert endpoints(delegated).device_url == f"{base}/devicecode"
    assert endpoints(delegated).scope == "https://outlook.office.com/SMTP.Send offline_access"


def test_google_is_known() -> None:
    found = account(provider="google", grant="service-account", key_file="/k").oauth2
    assert found is not None
    where = endpoints(found)
    assert [where.token_url, where.scope] == [
        "https://oauth2.googleapis.com/token",
        "https://mail.google.com/",
    ]


def test_addresses_and_scope_of_the_settings_go_first() -> None:
    mine = {"token_url": "https://t.test/", "scope": "mail"}
    found = account(**MICROSOFT, **mine, grant="device-code").oauth2
    assert found is not None
    assert (endpoints(found).token_url, endpoints(found).scope) == ("https://t.test/", "mail")


def test_forms_are_those_of_the_rfc() -> None:
    def asked(refresh: Secret | None = None, /, **oauth2: Any) -> dict[str, str]:
        found = account(**oauth2).oauth2
        assert found is not None
        return form(found, refresh)

    secret = {"client_secret_file": "/s", "scope": "mail"}
    assert asked(**CUSTOM, **secret, grant="client-credentials") == {
        "grant_type": "client_credentials",
        "scope": "mail",
    }
    assert asked(Secret("r"), **CUSTOM, grant="refresh-token", scope="mail") == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "scope": "mail",
    }
    google = {"provider": "google", "client_id": "app"}
    assert asked(Secret("r"), **google, grant="refresh-token") == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
    }
    assert asked(provider="google", grant="service-account", key_file="/k") == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"
    }
    with pytest.raises(LookupError):
        asked(**MICROSOFT, grant="device-code")


def test_statement_of_a_service_account_names_user_scope_and_audience() -> None:
    found = account(provider="google", grant="service-account", key_file="/k")
    assert found.oauth2 is not None
    credentials = OAuthCredentials(key=Secret("k"), key_id="kid1", issuer="relay@project.test")
    made = statement(found, found.oauth2, credentials, now=START.wall, jti="once")
    assert made is not None
    field, claims = made
    assert field == "assertion"
    assert claims.header == {"kid": "kid1"}
    assert claims.claims == {
        "iss": "relay@project.test",
        "sub": "me@x.test",
        "scope": "https://mail.google.com/",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": 1_699_999_940,
        "nbf": 1_699_999_940,
        "exp": 1_700_000_540,
        "jti": "once",
    }


def test_statement_of_an_application_names_its_certificate() -> None:
    files = {"key_file": "/k", "certificate_file": "/c"}
    found = account(**MICROSOFT, **files, grant="client-credentials")
    assert found.oauth2 is not None
    credentials = OAuthCredentials(key=Secret("k"), thumbprint="abc")
    made = statement(found, found.oauth2, credentials, now=START.wall, jti="once")
    assert made is not None
    assert made[0] == "client_assertion"
    assert made[1].header == {"x5t#S256": "abc"}
    assert (made[1].claims["iss"], made[1].claims["sub"]) == ("app", "app")


def test_secret_goes_into_the_header_of_servers_that_are_not_known() -> None:
    credentials = OAuthCredentials(client_secret=Secret("s"))
    known = account(**MICROSOFT, grant="device-code").oauth2
    custom = account(**CUSTOM, grant="refresh-token").oauth2
    assert known is not None
    assert custom is not None
    assert not client(known, credentials).basic
    assert client(custom, credentials).basic


@pytest.mark.parametrize("change", [{"user": "other"}, {"client_id": "b"}, {"scope": "c"}])
def test_tokens_are_kept_for_one_identity(change: dict[str, str]) -> None:
    base = {"client_id": "app", "token_url": "https://id.test/t", "grant": "refresh-token"}
    one = account(**base)
    user = change.pop("user", "me@x.test")
    other = account(**{**base, **change}).model_copy(update={"user": user})
    assert identity(one) != identity(other)


# Settings


@pytest.mark.parametrize(
    ("oauth2", "said"),
    [
        ({"grant": "device-code"}, "token_url is needed with provider custom"),
        ({**CUSTOM, "grant": "device-code"}, "needs device_authorization_url"),
        ({**CUSTOM, "grant": "client-credentials"}, "needs client_secret_file, or key_file"),
        ({"token_url": "https://t.test", "grant": "refresh-token"}, "client_id is needed"),
        ({**CUSTOM, "grant": "refresh-token", "tenant": "x"}, "and with no other"),
        ({"provider": "microsoft", "client_id": "a", "grant": "device-code"}, "tenant is needed"),
        ({**MICROSOFT, "tenant": "a/../b", "grant": "device-code"}, "an id or a domain"),
        ({**MICROSOFT, "grant": "service-account", "key_file": "/k"}, "use client-credentials"),
        (
            {**MICROSOFT, "grant": "client-credentials", "key_file": "/k"},
            "certificate_file is needed",
        ),
        ({"provider": "google", "client_id": "a", "grant": "device-code"}, "no access to mail"),
        ({"provider": "google", "client_id": "a", "grant": "client-credentials"}, "no grant"),
        ({**CUSTOM, "grant": "service-account"}, "needs key_file"),
        ({**CUSTOM, "grant": "refresh-token", "token_url": "http://t.test"}, "https://"),
        ({**CUSTOM, "grant": "refresh-token", "certificate_file": "/c"}, "only with key_file"),
        (
            {**CUSTOM, "grant": "client-credentials", "client_secret_file": "/s", "key_file": "/k"},
            "exclude each other",
        ),
        (
            {
                **MICROSOFT,
                "grant": "device-code",
                "refresh_token_file": "/r",
            },
            "for grant refresh-token only",
        ),
    ],
)
def test_settings_that_cannot_work_say_what_is_wrong(oauth2: dict[str, Any], said: str) -> None:
    assert said in problems(**oauth2)


def test_every_problem_is_told_at_once() -> None:
    found = problems(grant="device-code", certificate_file="/c")
    for word in ("token_url", "client_id", "device_authorization_url", "certificate_file"):
        assert word in found


@pytest.mark.parametrize(
    "table",
    [
        {"mechanism": "plain"},
        {"mechanism": "xoauth2"},
        {"mechanism": "xoauth2", "password_file": "/p"},
        {
            "mechanism": "plain",
            "password_file": "/p",
            "oauth2": {**CUSTOM, "grant": "refresh-token"},
        },
        {"mechanism": "digest-md5", "password_file": "/p"},
        {"mechanism": "plain", "password_file": "/p", "user": "a\x01b"},
        {"mechanism": "plain", "password_file": "/p", "user": ""},
    ],
)
def test_account_proves_itself_in_one_way(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AccountSettings.model_validate({"name": "office", "user": "me", **table})


def test_paths_do_not_depend_on_where_the_service_is_started() -> None:
    files = {"refresh_token_file": "token"}
    found = account(**CUSTOM, **files, grant="refresh-token").oauth2
    assert found is not None
    assert found.refresh_token_file == Path("token").absolute()


# Devices


def test_answer_to_a_device_is_read() -> None:
    found = device.parse(
        {
            "device_code": HIDDEN,
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://example.com/device",
            "verification_uri_complete": "https://example.com/device?user_code=WDJB-MJHT",
            "expires_in": 1800,
        }
    )
    assert found.interval == 5
    assert found.invitation.seconds == 1800
    assert found.invitation.complete_url.endswith("WDJB-MJHT")
    assert HIDDEN not in repr(found)


@pytest.mark.parametrize(
    "change",
    [
        {"verification_uri": "http://example.com"},
        {"verification_uri": "https://example.com/\x1b[2J"},
        {"verification_uri": None},
        {"user_code": ""},
        {"user_code": "A\x1b[2J"},
        {"device_code": None},
        {"expires_in": None},
        {"expires_in": "soon"},
        {"interval": -1},
        {"interval": float("nan")},
    ],
)
def test_answer_that_cannot_be_shown_to_a_person_is_refused(change: dict[str, object]) -> None:
    good = {
        "device_code": HIDDEN,
        "user_code": "WDJB-MJHT",
        "verification_uri": "https://example.com/device",
        "expires_in": 1800,
    }
    with pytest.raises(ValueError, match="server") as caught:
        device.parse({**good, **change})
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "pause"),
    [
        (TokenRefused("authorization_pending"), 5),
        (TokenRefused("slow_down"), 10),
        (Unavailable("away"), 10),
        (TokenRefused("access_denied"), None),
        (TokenRefused("expired_token"), None),
    ],
)
def test_questions_are_as_far_apart_as_the_server_wishes(
    said: TokenRefused | Unavailable, pause: float | None
) -> None:
    assert next_interval(5, said) == pause


# Advice


@pytest.mark.parametrize(
    ("cause", "advice", "lasting"),
    [
        (TokenRefused("invalid_grant"), "sign in again: emailrelay-auth login office", True),
        (TokenRefused("interaction_required"), "sign in again: emailrelay-auth login office", True),
        (TokenRefused("invalid_client"), "check client_id", True),
        (TokenRefused("invalid_scope"), "SMTP.Send", True),
        (Unavailable("login.test cannot be asked"), "nothing to do if it passes", False),
    ],
)
def test_person_is_told_what_to_do(
    cause: TokenRefused | Unavailable, advice: str, *, lasting: bool
) -> None:
    found = diagnose(cause, account(**MICROSOFT, grant="device-code"), secrets="", now=START)
    assert advice in found.advice
    assert found.lasting is lasting
