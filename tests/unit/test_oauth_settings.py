"""The settings of OAuth2: known providers, and what cannot work."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.oauth_values import CUSTOM, MICROSOFT, account

from emailrelay.config.accounts import AccountSettings
from emailrelay.oauth.request import endpoints, identity


def problems(**oauth2: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        account(**oauth2)
    return str(caught.value)


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
