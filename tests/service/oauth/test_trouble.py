"""Servers that refuse, are unavailable or answer strangely."""

import json

import pytest
from tests.fakes.oauth_server import Answer
from tests.service.oauth.sign_ins import refused
from tests.service.signing_in import SECRET, Desk

from emailrelay.events.accounts import SignInBack, SignInTrouble

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
