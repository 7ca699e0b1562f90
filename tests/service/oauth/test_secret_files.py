"""Files with secrets that cannot be used."""

import pytest
from tests.service.oauth.sign_ins import refused, service_account
from tests.service.signing_in import Desk


async def test_secret_that_others_can_read_is_not_used(desk: Desk) -> None:
    desk.application()
    (desk.folder / "client-secret").chmod(0o644)
    error = await refused(desk)
    assert "chmod o=" in error.reason
    assert not desk.server.requests
    (desk.folder / "client-secret").chmod(0o600)
    assert await desk.bearer()("office") in desk.server.tokens


@pytest.mark.parametrize("text", ["", "two\nlines", "ctrl\x01", "x" * 100_000])
async def test_file_that_holds_no_secret_is_told_without_what_it_holds(
    desk: Desk, text: str
) -> None:
    desk.application()
    desk.secret_file("client-secret", text)
    error = await refused(desk)
    assert "client-secret" in error.reason
    assert not text or text not in str(error)


async def test_broken_key_is_told_without_what_it_holds(desk: Desk) -> None:
    service_account(desk, "-----BEGIN PRIVATE KEY-----\nTm90QUtleQ==\n-----END PRIVATE KEY-----")
    error = await refused(desk)
    assert "RSA key" in error.reason
    assert "Tm90QUtleQ" not in str(error) + repr(error.__cause__)
