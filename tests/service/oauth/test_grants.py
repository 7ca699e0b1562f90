"""The grants of OAuth2: by secret, certificate, key and refresh token."""

import ssl

import trustme
from tests.fakes.oauth_server import Client, thumbprint
from tests.service.oauth.sign_ins import refused, service_account
from tests.service.signing_in import USER, Desk, rsa_key

# Grants


async def test_application_signs_in_with_its_secret(desk: Desk) -> None:
    desk.application()
    assert await desk.bearer()("office") in desk.server.tokens
    assert desk.server.requests[0]["scope"] == "mail"


async def test_secret_of_a_known_provider_goes_in_the_form(desk: Desk) -> None:
    desk.application(provider="microsoft", tenant="contoso.test")
    assert await desk.bearer()("office") in desk.server.tokens
    assert desk.server.requests[0]["client_id"] == "app:1"


async def test_application_signs_in_with_a_certificate(desk: Desk) -> None:
    certificate = trustme.CA().issue_cert("relay.test", key_type=trustme.KeyType.RSA)
    pem = certificate.cert_chain_pems[0].bytes().decode()
    key = certificate.private_key_pem.bytes().decode()
    desk.server.clients["app:2"] = Client(
        key=public_key(pem), thumbprint=thumbprint(ssl.PEM_cert_to_DER_cert(pem))
    )
    desk.account(
        "client-credentials",
        provider="microsoft",
        tenant="contoso.test",
        client_id="app:2",
        key_file=str(desk.secret_file("key.pem", key)),
        certificate_file=str(desk.secret_file("certificate.pem", pem)),
    )
    assert await desk.bearer()("office") in desk.server.tokens


def public_key(certificate: str) -> str:
    from cryptography import x509  # noqa: PLC0415 -- one test's
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- one test's

    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


async def test_service_account_acts_for_its_user(desk: Desk) -> None:
    private, public = rsa_key()
    desk.server.clients["relay@project.test"] = Client(key=public, users=frozenset({USER}))
    service_account(desk, private)
    assert await desk.bearer()("office") in desk.server.tokens


async def test_service_account_with_another_key_is_refused(desk: Desk) -> None:
    desk.server.clients["relay@project.test"] = Client(key=rsa_key()[1], users=frozenset({USER}))
    service_account(desk, rsa_key()[0])
    error = await refused(desk)
    assert "invalid_grant" in error.reason
    assert "check the key" in error.advice


async def test_service_account_that_may_not_act_for_the_user_is_refused(desk: Desk) -> None:
    private, public = rsa_key()
    desk.server.clients["relay@project.test"] = Client(key=public)
    service_account(desk, private)
    assert "unauthorized_client" in (await refused(desk)).reason


async def test_refresh_token_of_a_file_serves_for_ever_if_it_stays_good(desk: Desk) -> None:
    desk.person("first")
    bearer = desk.bearer()
    tokens = set[str]()
    for _ in range(3):
        tokens.add(await bearer("office"))
        desk.later(4000)
    assert len(tokens) == 3
    assert {r["refresh_token"] for r in desk.server.requests} == {"first"}


async def test_rotated_refresh_token_is_the_next_one_used(desk: Desk) -> None:
    desk.server.rotates = True
    desk.person("first")
    for _ in range(3):
        assert await desk.bearer()("office") in desk.server.tokens
        desk.later(4000)
    used = [request["refresh_token"] for request in desk.server.requests]
    assert len(set(used)) == 3
    assert used[0] == "first"


async def test_new_refresh_token_in_the_file_goes_before_the_kept_one(desk: Desk) -> None:
    desk.server.rotates = True
    desk.person("first")
    await desk.bearer()("office")
    desk.later(4000)
    desk.server.refresh_tokens.add("by-hand")
    desk.secret_file("refresh", "by-hand")
    await desk.bearer()("office")
    assert [r["refresh_token"] for r in desk.server.requests] == ["first", "by-hand"]


async def test_account_without_oauth2_has_no_token(desk: Desk) -> None:
    desk.application()
    assert "no such account" in (await refused(desk, "nobody")).reason


def test_library_imports_nothing_of_the_extra_before_it_is_used() -> None:
    import subprocess  # noqa: PLC0415 -- one test's
    import sys  # noqa: PLC0415 -- one test's

    code = (
        "import sys, emailrelay.oauth.bearer, emailrelay.oauth.cli;"
        "sys.exit(any(name in sys.modules for name in ('httpx2', 'joserfc')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
