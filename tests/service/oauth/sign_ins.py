"""A service account with its key, and a sign-in that is refused."""

import json

import pytest
from tests.service.signing_in import Desk

from emailrelay.errors import SignInError


async def refused(desk: Desk, name: str = "office") -> SignInError:
    with pytest.raises(SignInError) as caught:
        await desk.bearer()(name)
    return caught.value


def service_account(desk: Desk, private: str) -> None:
    entry = {
        "type": "service_account",
        "client_email": "relay@project.test",
        "private_key": private,
        "private_key_id": "k1",
    }
    path = desk.secret_file("key.json", json.dumps(entry))
    desk.account("service-account", provider="google", key_file=str(path))
