"""Requests for tokens, and a person's sign-in on a device."""

from typing import Any

import pytest
from tests.unit.oauth_values import CUSTOM, HIDDEN, MICROSOFT, START, account

from emailrelay.oauth import device
from emailrelay.oauth.credentials import OAuthCredentials
from emailrelay.oauth.device import next_interval
from emailrelay.oauth.endpoint import TokenRefused, Unavailable
from emailrelay.oauth.request import NotSignedIn, client, form, statement
from emailrelay.oauth.trouble import diagnose
from emailrelay.secrets import Secret


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
    with pytest.raises(NotSignedIn):
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
