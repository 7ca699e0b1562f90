"""``emailrelay-auth`` as a process: signing in, seeing how accounts stand, fetching tokens."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.oauth_server import Answer, Client, OAuthServer
from tests.service.signing_in import HANG, SECRET, USER, Desk, running

from emailrelay.errors import SignInError


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    clients = {"app:1": Client(secret=SECRET), "public": Client()}
    async with OAuthServer(tmp_path, clients=clients) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        yield Desk(tmp_path, server)


async def code_shown(process: Process) -> str:
    """Read the output up to the code for the person."""
    assert process.stdout is not None
    seen = list[str]()
    async with asyncio.timeout(HANG):
        async for line in process.stdout:
            seen.append(line.decode().strip())
            if "waiting" in seen[-1]:
                return seen[seen.index("and type this code:") + 2]
    raise AssertionError(seen)


async def status(desk: Desk) -> tuple[int, list[dict[str, Any]]]:
    code, out, _ = await desk.run("status", "--json")
    return code, [json.loads(line) for line in out.splitlines()]


async def test_person_signs_in_with_a_code(desk: Desk) -> None:
    desk.account("device-code", client_id="public")
    assert (await status(desk))[1][0]["what_to_do"] == "emailrelay-auth login office"
    async with desk.command("login", "office") as process, asyncio.timeout(HANG):
        desk.server.approve(await code_shown(process))
        out, err = await process.communicate()
    assert process.returncode == 0, err
    assert f"office: signed in as {USER}" in out.decode()
    code, (row,) = await status(desk)
    assert code == 0
    assert (row["state"], row["mechanism"], row["what_to_do"]) == ("good", "xoauth2", None)
    kept = json.loads(desk.kept())
    assert kept["token"]["text"] in desk.server.tokens
    assert kept["refresh_token"] in desk.server.refresh_tokens


async def test_sign_in_that_is_declined_says_so_and_keeps_nothing(desk: Desk) -> None:
    desk.account("device-code", client_id="public")
    async with desk.command("login", "office") as process, asyncio.timeout(HANG):
        desk.server.approve(await code_shown(process), state="access_denied")
        _, err = await process.communicate()
    assert process.returncode == 1
    assert "access_denied" in err.decode()
    assert not (desk.spool / ".tokens").exists()


async def test_sign_in_can_be_given_up(desk: Desk) -> None:
    desk.account("device-code", client_id="public")
    async with desk.command("login", "office") as process, asyncio.timeout(HANG):
        await code_shown(process)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert "nothing was changed" in err.decode()


async def test_sign_in_without_a_refresh_token_is_told(desk: Desk) -> None:
    desk.server.gives_refresh = False
    desk.account("device-code", client_id="public")
    async with desk.command("login", "office") as process, asyncio.timeout(HANG):
        desk.server.approve(await code_shown(process))
        _, err = await process.communicate()
    assert process.returncode == 1
    assert "no refresh token" in err.decode()


async def test_refresh_token_is_read_from_standard_input(desk: Desk) -> None:
    desk.person()
    desk.server.refresh_tokens.add("by-mail")
    code, out, err = await desk.run("login", "office", text="by-mail\n")
    assert (code, err) == (0, "")
    assert "by-mail" not in out
    assert json.loads(desk.kept())["refresh_token"] == "by-mail"  # noqa: S105 -- of the test
    assert (await desk.run("refresh", "office"))[0] == 0


@pytest.mark.parametrize("typed", ["", "\n", "unknown\n"])
async def test_refresh_token_that_does_not_work_is_not_kept(desk: Desk, typed: str) -> None:
    desk.person()
    code, out, err = await desk.run("login", "office", text=typed)
    assert code != 0
    assert "unknown" not in out + err
    assert not (desk.spool / ".tokens").exists()


async def test_application_needs_no_person(desk: Desk) -> None:
    desk.application()
    code, out, _ = await desk.run("login", "office")
    assert code == 0
    assert "needs no person" in out


async def test_status_shows_every_account_in_a_table(desk: Desk) -> None:
    desk.application()
    desk.account("device-code", name="person", client_id="public")
    desk.accounts.append(
        '[[account]]\nname = "old"\nmechanism = "login"\nuser = "me"\n'
        f'password_file = "{desk.secret_file("password", "x")}"\n'
    )
    desk.config.write_text("".join(desk.accounts))
    assert (await desk.run("refresh", "office"))[0] == 0
    code, out, _ = await desk.run("status")
    assert code == 1
    heading, *rows = [line.split() for line in out.splitlines()]
    assert heading[:4] == ["Account", "Mechanism", "State", "Token"]
    assert [row[:3] for row in rows] == [
        ["office", "xoauth2", "good"],
        ["person", "xoauth2", "sign"],
        ["old", "login", "password"],
    ]
    assert "emailrelay-auth login person" in out


async def test_status_tells_of_trouble_and_what_to_do(desk: Desk) -> None:
    desk.application()
    assert (await desk.run("refresh", "office"))[0] == 0
    desk.secret_file("client-secret", "wr0ng")
    code, out, err = await desk.run("refresh", "office")
    assert code == 1
    assert "invalid_client" in err
    assert "client-secret" in err
    assert "wr0ng" not in out + err
    code, (row,) = await status(desk)
    assert code == 1
    assert row["state"] == "trouble"
    assert "invalid_client" in row["last_error"]
    assert "client-secret" in row["what_to_do"]
    assert row["token_expires"] > 0
    assert json.loads(desk.kept())["token"]["text"] in desk.server.tokens


@pytest.mark.parametrize("mode", [0o644, None])
async def test_status_tells_of_a_secret_file_that_cannot_be_used(
    desk: Desk, mode: int | None
) -> None:
    desk.application()
    assert (await desk.run("refresh", "office"))[0] == 0
    file = desk.secret_file("client-secret", "s3cret")
    if mode is None:
        file.unlink()
    else:
        file.chmod(mode)
    code, (row,) = await status(desk)
    assert (code, row["state"]) == (1, "trouble")
    assert str(file) in row["last_error"]
    assert "fix the file" in row["what_to_do"]


async def test_refresh_fetches_although_the_token_is_good(desk: Desk) -> None:
    desk.application()
    for _ in range(2):
        assert (await desk.run("refresh", "office"))[0] == 0
    assert len(desk.server.requests) == 2


async def test_refresh_after_trouble_does_not_wait_for_the_pause(desk: Desk) -> None:
    desk.application()
    desk.server.answers.append(Answer(401, b'{"error":"invalid_client"}'))
    assert (await desk.run("refresh", "office"))[0] == 1
    assert (await desk.run("refresh", "office"))[0] == 0
    assert (await status(desk))[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("login", "nobody"), 78, "the names are: office"),
        (("refresh", "office", "nobody"), 78, "the names are: office"),
        (("login",), 64, "ACCOUNT"),
        (("dance",), 64, "dance"),
    ],
)
async def test_mistakes_are_told(desk: Desk, words: tuple[str, ...], code: int, said: str) -> None:
    desk.application()
    found, _, err = await desk.run(*words)
    assert found == code
    assert said in err


async def test_spool_that_is_not_there_is_not_made(desk: Desk) -> None:
    desk.application()
    nowhere = str(desk.folder / "nowhere")
    words = ("status", "--config", str(desk.config), "--spool-dir", nowhere)
    async with running(sys.executable, "-m", "emailrelay.oauth", *words) as process:
        _, err = await process.communicate()
    assert process.returncode == 66
    assert "no such spool directory" in err.decode()


async def test_wrong_settings_are_told_all_at_once(desk: Desk) -> None:
    desk.application()
    desk.config.write_text(desk.config.read_text() + 'clint_id = "x"\ntenant = "y"\n')
    code, _, err = await desk.run("status")
    assert code == 78
    assert "clint_id" in err


async def test_missing_packages_are_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.application()
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(SignInError, match=r"'\.\[oauth\]'"):
        await desk.bearer()("office")
