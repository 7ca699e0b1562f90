"""Tokens from a real OAuth2 server: every grant, renewals, trouble, several processes, kills."""

import asyncio
import json
import os
import signal
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from tests.fakes.oauth_server import Answer, Client, OAuthServer, thumbprint
from tests.service.signing_in import HANG, SECRET, USER, Desk, rsa_key

from emailrelay.errors import SignInError
from emailrelay.events import SignInBack, SignInTrouble
from emailrelay.oauth import device
from emailrelay.oauth.device import Invitation, TooLate
from emailrelay.oauth.endpoint import TokenRefused
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.tokens import Reserved


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    clients = {"app:1": Client(secret=SECRET), "public": Client()}
    async with OAuthServer(tmp_path, clients=clients) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        desk = Desk(tmp_path, server)
        server.clock = lambda: desk.now.wall
        yield desk


async def refused(desk: Desk, name: str = "office") -> SignInError:
    with pytest.raises(SignInError) as caught:
        await desk.bearer()(name)
    return caught.value


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


def service_account(desk: Desk, private: str) -> None:
    entry = {
        "type": "service_account",
        "client_email": "relay@project.test",
        "private_key": private,
        "private_key_id": "k1",
    }
    path = desk.secret_file("key.json", json.dumps(entry))
    desk.account("service-account", provider="google", key_file=str(path))


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


# Devices


async def test_person_signs_in_on_a_device(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    assert "sign in: emailrelay-auth login office" in (await refused(desk)).advice
    renewal = desk.renewal(account)

    def show(invitation: Invitation) -> None:
        desk.server.approve(invitation.code)

    await renewal.keep_sign_in(await device.sign_in(renewal, show))
    assert await desk.bearer()("office") in desk.server.tokens
    desk.later(4000)
    assert await desk.bearer()("office") in desk.server.tokens
    assert desk.server.requests[-1]["grant_type"] == "refresh_token"


async def test_server_is_asked_no_faster_than_it_wishes(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    pauses: list[float] = []
    shown: list[Invitation] = []

    async def hurried(seconds: float) -> None:
        pauses.append(seconds)
        for known in desk.server.devices.values():
            # The time that was to pass has passed; too early by design at the second question.
            known.asked = 0.0 if len(pauses) != 2 else float("inf")
        if len(pauses) == 4:
            desk.server.approve(shown[0].code)

    await device.sign_in(desk.renewal(account), shown.append, sleep=hurried)
    assert pauses == [1, 1, 6, 6]


async def test_outage_while_a_person_signs_in_is_waited_for(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    pauses: list[float] = []

    def show(invitation: Invitation) -> None:
        desk.server.answers += [Answer(0), Answer(503)]
        desk.server.approve(invitation.code)

    async def hurried(seconds: float) -> None:
        pauses.append(seconds)

    issued = await device.sign_in(desk.renewal(account), show, sleep=hurried)
    assert issued.token.text.reveal() in desk.server.tokens
    assert pauses == [1, 2, 4]


async def test_no_of_the_person_ends_the_sign_in(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")

    def show(invitation: Invitation) -> None:
        desk.server.approve(invitation.code, state="access_denied")

    with pytest.raises(TokenRefused, match="access_denied"):
        await device.sign_in(desk.renewal(account), show)


async def test_code_that_runs_out_ends_the_sign_in(desk: Desk) -> None:
    desk.server.device_lifetime = 0.3
    account = desk.account("device-code", client_id="public")
    with pytest.raises(TooLate):
        await device.sign_in(desk.renewal(account), lambda _: None)


# Renewals


async def test_token_is_asked_for_once_and_kept_for_others(desk: Desk) -> None:
    desk.application()
    bearer = desk.bearer()
    tokens = {*await asyncio.gather(*(bearer("office") for _ in range(20)))}
    tokens |= {await desk.bearer()("office")}
    assert len(tokens) == 1
    assert len(desk.server.requests) == 1


async def test_token_is_renewed_before_it_ends_while_the_old_one_is_used(desk: Desk) -> None:
    desk.application()
    bearer = desk.bearer()
    first = await bearer("office")
    desk.later(3350)
    desk.server.gate = asyncio.Event()
    desk.server.reached.clear()
    assert await bearer("office") == first
    async with asyncio.timeout(HANG):
        await desk.server.reached.wait()
    assert await bearer("office") == first
    assert await desk.bearer()("office") == first
    desk.server.gate.set()
    await bearer.close()
    second = await desk.bearer()("office")
    assert second != first
    assert len(desk.server.requests) == 2


async def test_refused_token_is_renewed_once_for_all(desk: Desk) -> None:
    desk.application()
    bearer, other = desk.bearer(), desk.bearer()
    first = await bearer("office")
    desk.later(100)
    found = {*await asyncio.gather(*(b("office", renew=True) for b in (bearer, other, bearer)))}
    assert len(found) == 1
    assert found != {first}
    assert len(desk.server.requests) == 2
    assert await bearer("office", renew=True) in found  # it is new: another would be no better


async def test_session_that_is_given_up_breaks_off_no_renewal(desk: Desk) -> None:
    desk.application()
    desk.server.gate = asyncio.Event()
    bearer = desk.bearer()
    session = asyncio.create_task(bearer("office"))
    async with asyncio.timeout(HANG):
        await desk.server.reached.wait()
    session.cancel()
    desk.server.gate.set()
    await bearer.close()
    assert await desk.bearer()("office") in desk.server.tokens
    assert len(desk.server.requests) == 1


async def test_settings_taken_back_find_the_sign_in_again(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    renewal = desk.renewal(account)
    await renewal.keep_sign_in(
        await device.sign_in(renewal, lambda shown: desk.server.approve(shown.code))
    )
    text = desk.config.read_text()
    desk.config.write_text(text.replace('"public"', '"misspelt"'))
    assert "no user has signed in" in (await refused(desk)).reason
    desk.config.write_text(text)
    assert await desk.bearer()("office") in desk.server.tokens


# Trouble


async def test_wrong_secret_is_told_once_with_what_to_do(desk: Desk) -> None:
    desk.application()
    desk.secret_file("client-secret", "wr0ng-one")
    error, *_ = [await refused(desk) for _ in range(3)]
    assert "invalid_client" in error.reason
    assert "client-secret" in error.advice
    assert error.temporary
    assert len(desk.events(SignInTrouble)) == 1
    assert len(desk.server.requests) == 1
    desk.secret_file("client-secret", SECRET)
    assert await desk.bearer()("office") in desk.server.tokens
    assert len(desk.events(SignInBack)) == 1


async def test_expired_refresh_token_says_sign_in_again(desk: Desk) -> None:
    desk.person("first")
    desk.server.refresh_tokens.clear()
    error = await refused(desk)
    assert error.advice.endswith("sign in again: emailrelay-auth login office")
    assert "first" not in str(error) + repr(desk.told)


async def test_server_that_is_away_leaves_the_good_token_in_use(desk: Desk) -> None:
    desk.application()
    first = await desk.bearer()("office")
    desk.later(3400)
    desk.server.answers += [Answer(0)] * 20
    bearer = desk.bearer()
    for _ in range(3):
        assert await bearer("office") == first
        await bearer.close()
    (event,) = desk.events(SignInTrouble)
    assert isinstance(event, SignInTrouble)
    assert event.token_until == 1_700_003_600
    desk.later(200)
    error = await refused(desk)
    assert "localhost" in error.reason
    desk.server.answers.clear()
    desk.later(600)
    assert await desk.bearer()("office") in desk.server.tokens
    assert len(desk.events(SignInTrouble)) == 1
    assert len(desk.events(SignInBack)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0),
        Answer(500, b"{}"),
        Answer(429, b'{"error":"slow"}', {"Retry-After": "0"}),
        Answer(200, b"<html>log in to the wireless network</html>"),
        Answer(200, b'{"token_type":"Bearer"}'),
        Answer(302, b"", {"Location": "http://127.0.0.1:1/"}),
        Answer(400, b'{"error":"temporarily_unavailable"}'),
        Answer(403, b"no proxy today"),
    ],
    ids=lambda answer: f"{answer.status}-{answer.body[:12].decode()}",
)
async def test_passing_trouble_is_tried_again_at_once(desk: Desk, answer: Answer) -> None:
    desk.application()
    desk.server.answers.append(answer)
    assert await desk.bearer()("office") in desk.server.tokens
    assert not desk.told
    assert desk.pauses == [1]


@pytest.mark.parametrize("size", [300_000, 10_000_000])
async def test_endless_answer_is_broken_off(desk: Desk, size: int) -> None:
    desk.application()
    desk.server.answers += [Answer(200, b'{"access_token":"' + b"x" * size)] * 3
    assert "more than" in (await refused(desk)).reason


async def test_server_that_asks_for_a_long_pause_gets_it(desk: Desk) -> None:
    desk.application()
    desk.server.answers.append(Answer(429, b"{}", {"Retry-After": "60"}))
    assert "429" in (await refused(desk)).reason
    assert len(desk.server.requests) == 1


async def test_server_with_an_unknown_certificate_gets_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.application()
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "certificate" in (await refused(desk)).reason.lower()
    assert not desk.server.requests


async def test_server_that_repeats_our_secrets_does_not_bring_them_into_the_log(
    desk: Desk,
) -> None:
    desk.application()
    body = {"error": "invalid_client", "error_description": f"{SECRET}\n\x1b[2J is wrong" * 50}
    desk.server.answers.append(Answer(401, json.dumps(body).encode()))
    error = await refused(desk)
    told = str(error) + repr(desk.told) + desk.kept()
    assert SECRET not in told
    assert "(secret)" in told
    assert "\x1b" not in str(error)
    assert len(error.reason) < 500


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


async def test_account_without_oauth2_has_no_token(desk: Desk) -> None:
    desk.application()
    assert "no such account" in (await refused(desk, "nobody")).reason


# Files


async def test_tokens_are_for_their_owner_alone(desk: Desk) -> None:
    old = os.umask(0)
    try:
        desk.application()
        await desk.bearer()("office")
    finally:
        os.umask(old)
    kept = desk.spool / ".tokens"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in kept.iterdir()} == {
        "office.json": 0o600,
        "office.lock": 0o600,
    }


async def test_directory_that_is_open_to_others_is_not_used(desk: Desk) -> None:
    desk.application()
    (desk.spool / ".tokens").mkdir()
    (desk.spool / ".tokens").chmod(0o755)
    assert "chmod 700" in (await refused(desk)).reason
    assert not desk.server.requests


async def test_full_disk_costs_no_refresh_token(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.rotates = True
    desk.person("first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert "No space left" in (await refused(desk)).reason
    assert not desk.server.requests
    monkeypatch.undo()
    monkeypatch.setenv("SSL_CERT_FILE", str(desk.server.ca))
    desk.later(1000)
    assert await desk.bearer()("office") in desk.server.tokens


async def test_old_tokens_stand_when_new_ones_cannot_be_synced(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.application()
    first = await desk.bearer()("office")
    before = desk.kept()
    desk.later(3400)

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    bearer = desk.bearer()
    assert await bearer("office") == first
    await bearer.close()
    assert desk.kept() == before
    assert not list((desk.spool / ".tokens").glob("*.new"))


async def test_file_of_nonsense_is_replaced(desk: Desk) -> None:
    desk.application()
    await desk.bearer()("office")
    (desk.spool / ".tokens" / "office.json").write_bytes(b"\xff{")
    assert await desk.bearer()("office") in desk.server.tokens


async def test_link_in_place_of_the_tokens_is_not_followed(desk: Desk, tmp_path: Path) -> None:
    desk.application()
    await desk.bearer()("office")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    for name in ("office.json", "office.new"):
        path = desk.spool / ".tokens" / name
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
    assert "cannot be stored" in (await refused(desk)).reason
    assert victim.read_text() == "untouched"


# Several processes


async def test_two_processes_ask_once(desk: Desk) -> None:
    desk.server.rotates = True
    desk.server.gate = asyncio.Event()
    desk.person("first")
    async with desk.token_user() as one, desk.token_user() as other, asyncio.timeout(HANG):
        await desk.server.reached.wait()
        desk.server.gate.set()
        (out, _), (again, _) = await asyncio.gather(one.communicate(), other.communicate())
    assert out == again
    assert out.decode().strip() in desk.server.tokens
    assert len(desk.server.requests) == 1


async def test_process_killed_while_it_asks_is_replaced_at_once(desk: Desk) -> None:
    desk.server.gate = asyncio.Event()
    desk.person("first")
    async with desk.token_user() as one, asyncio.timeout(HANG):
        await desk.server.reached.wait()
        async with desk.token_user() as other:
            one.kill()
            desk.server.gate.set()
            out, _ = await other.communicate()
    assert out.decode().strip() in desk.server.tokens
    assert len(desk.server.requests) == 2


@pytest.mark.parametrize("step", ["write", "ftruncate", "fsync", "rename"])
async def test_process_killed_before_tokens_are_kept_leaves_the_old_ones_whole(
    desk: Desk, step: str
) -> None:
    desk.person("first")
    async with desk.token_user(step) as dying, asyncio.timeout(HANG):
        assert await dying.wait() == -signal.SIGKILL
    async with desk.token_user() as next_one, asyncio.timeout(HANG):
        out, _ = await next_one.communicate()
    assert out.decode().strip() in desk.server.tokens
    assert [r["refresh_token"] for r in desk.server.requests] == ["first", "first"]
    assert not list((desk.spool / ".tokens").glob("*.new"))


async def test_kill_that_cost_a_refresh_token_is_told_as_a_new_sign_in(desk: Desk) -> None:
    desk.server.rotates = True
    desk.person("first")
    async with desk.token_user("rename") as dying, asyncio.timeout(HANG):
        assert await dying.wait() == -signal.SIGKILL
    assert "sign in again: emailrelay-auth login office" in (await refused(desk)).advice


async def test_old_tokens_are_gone_only_when_the_new_ones_are_durable(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.rotates = True
    desk.person("first")
    steps: list[str] = []
    fsync, rename, sync_directory = os.fsync, files.rename, files.sync_directory

    def synced(descriptor: int) -> None:
        steps.append("fsync")
        fsync(descriptor)

    def renamed(source: Location, target: Location) -> None:
        steps.append("rename")
        rename(source, target)

    def directory(which: Directory) -> None:
        sync_directory(which)
        steps.append("directory")

    await desk.bearer()("office")
    desk.later(4000)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(files, "rename", renamed)
    monkeypatch.setattr(files, "sync_directory", directory)
    await desk.bearer()("office")
    assert steps == ["fsync", "rename", "fsync", "directory"]


async def test_room_is_taken_before_anything_is_asked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.person("first")
    asked: list[int] = []
    commit = Reserved.commit

    def noting(room: Reserved, octets: bytes) -> None:
        asked.append(len(desk.server.requests))
        assert (desk.spool / ".tokens" / "office.new").stat().st_blocks * 512 >= len(octets)
        commit(room, octets)

    monkeypatch.setattr(Reserved, "commit", noting)
    await desk.bearer()("office")
    assert asked == [1]


def test_library_imports_nothing_of_the_extra_before_it_is_used() -> None:
    import subprocess  # noqa: PLC0415 -- one test's
    import sys  # noqa: PLC0415 -- one test's

    code = (
        "import sys, emailrelay.oauth.bearer, emailrelay.oauth.cli;"
        "sys.exit(any(name in sys.modules for name in ('httpx2', 'joserfc')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
