"""Mail through a real forwarder process that signs in with tokens of a real OAuth2 server."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.oauth_server import Answer, Client, OAuthServer
from tests.fakes.secure_peer import SecurePeer
from tests.forked import run_forked
from tests.service.certificates import Authority
from tests.service.signing_in import HANG, SECRET, USER, Desk, running

from emailrelay.envelope import Address, Envelope
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    clients = {"app:1": Client(secret=SECRET), "public": Client()}
    async with OAuthServer(tmp_path, clients=clients) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        yield Desk(tmp_path, server)


class Post:
    """An SMTP server that accepts only tokens of the OAuth2 server, and a forwarder to it."""

    def __init__(self, desk: Desk, mechanism: str = "XOAUTH2") -> None:
        self.desk = desk
        self._authority = Authority(desk.folder)
        self.peer = SecurePeer(
            context=self._authority.context(),
            offers=(f"AUTH {mechanism}",),
            tokens=desk.server.tokens,
        )

    async def put(self) -> None:
        envelope = Envelope(sender=Address("a@us.test"), to_remote=(Address("b@there.test"),))
        async with (
            open_store(self.desk.spool, report=lambda _event: None) as store,
            store.draft(envelope) as draft,
        ):
            draft.write(b"Subject: one\r\n\r\nbody\r\n")
            await draft.commit(Stage.READY)

    def command(self, *more: str) -> tuple[str, ...]:
        """Give the command of a forwarder, and write its settings."""
        route = (
            '[[route]]\nname = "all"\n'
            f'smarthosts = ["127.0.0.1:{self.peer.port}"]\naccount = "office"\n'
        )
        config = self.desk.folder / "forwarder.toml"
        config.write_text(
            f'client_tls_verify = "{self._authority.path}"\nlog_format = "json"\n'
            + route
            + self.desk.config.read_text()
        )
        where = ("--config", str(config), "--spool-dir", str(self.desk.spool))
        return (sys.executable, "-m", "emailrelay_forwarder", *where, "--debug", *more)

    async def one_pass(self) -> tuple[int, list[dict[str, Any]]]:
        """Let a forwarder try all mail once; give its exit status and its log."""
        arguments = self.command("--once")[3:]
        done = await asyncio.to_thread(run_forked, "emailrelay-forwarder", *arguments)
        log = done.stdout
        assert SECRET not in log
        assert not [token for token in self.desk.server.tokens.ends if token in log]
        return done.returncode, [json.loads(line) for line in log.splitlines()]


def age(desk: Desk, seconds: float) -> None:
    """Make the stored token so much older."""
    path = desk.spool / ".tokens" / "office.json"
    kept = json.loads(path.read_text())
    for clock in ("wall", "uptime"):
        kept["token"]["issued"][clock] -= seconds
    path.write_text(json.dumps(kept))


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_mail_is_delivered_with_a_token_that_is_fetched_once(
    desk: Desk, mechanism: str
) -> None:
    desk.application(mechanism=mechanism.lower())
    post = Post(desk, mechanism)
    async with post.peer:
        for _ in range(2):
            await post.put()
            assert (await post.one_pass())[0] == 0
    assert len(post.peer.contents) == 2
    assert post.peer.signed_in == [(USER, mechanism)] * 2
    assert len(desk.server.requests) == 1


async def test_token_that_the_server_refuses_is_renewed_at_once(desk: Desk) -> None:
    desk.person("first")
    post = Post(desk)
    async with post.peer:
        await post.put()
        assert (await post.one_pass())[0] == 0
        desk.server.tokens.ends.clear()
        age(desk, 100)
        await post.put()
        assert (await post.one_pass())[0] == 0
    assert len(post.peer.contents) == 2
    assert len(desk.server.requests) == 2


async def test_ended_token_is_renewed_before_the_server_sees_it(desk: Desk) -> None:
    desk.application()
    post = Post(desk)
    async with post.peer:
        await post.put()
        assert (await post.one_pass())[0] == 0
        age(desk, 3700)
        await post.put()
        assert (await post.one_pass())[0] == 0
    assert [line.partition(" ")[0] for line in post.peer.lines].count("AUTH") == 2
    assert len(desk.server.requests) == 2


async def test_mail_waits_without_a_token_and_says_what_to_do(desk: Desk) -> None:
    desk.person("first")
    desk.server.refresh_tokens.clear()
    post = Post(desk)
    async with post.peer:
        await post.put()
        status, log = await post.one_pass()
    assert status == 1
    (trouble,) = [line for line in log if line["event"] == "sign_in_trouble"]
    assert trouble["advice"].endswith("sign in again: emailrelay-auth login office")
    assert trouble["token_until"] is None
    assert [line for line in log if line["event"] == "deferred"]
    assert not post.peer.contents


async def test_mail_goes_on_with_the_good_token_while_no_new_one_can_be_had(desk: Desk) -> None:
    desk.application()
    post = Post(desk)
    async with post.peer:
        await post.put()
        assert (await post.one_pass())[0] == 0
        age(desk, 3400)
        desk.server.answers += [Answer(0)] * 10
        await post.put()
        status, _ = await post.one_pass()
    assert status == 0
    assert len(post.peer.contents) == 2
    assert len(desk.server.requests) >= 2


async def test_mended_sign_in_lets_waiting_mail_go_without_a_word_to_the_forwarder(
    desk: Desk,
) -> None:
    desk.person("first")
    desk.server.refresh_tokens.clear()
    post = Post(desk)
    await post.put()
    async with post.peer, running(*post.command()) as forwarder, asyncio.timeout(HANG):
        assert forwarder.stdout is not None
        async for line in forwarder.stdout:
            if json.loads(line)["event"] == "sign_in_trouble":
                break
        desk.server.refresh_tokens.add("second")
        status, _, err = await desk.run("login", "office", text="second\n")
        assert status == 0, err
        async for line in forwarder.stdout:
            if json.loads(line)["event"] == "delivered":
                break
        forwarder.terminate()
        await forwarder.communicate()
    assert forwarder.returncode == 0
    assert len(post.peer.contents) == 1


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('mechanism = "plain"\npassword_file = "{folder}/none"', "cannot be read"),
        ('mechanism = "plain"\npassword_file = "{folder}/open"', "chmod o="),
        ('mechanism = "xoauth2"\npassword_file = "{folder}/open"', "takes [account.oauth2]"),
    ],
)
async def test_account_that_cannot_work_stops_the_start(desk: Desk, table: str, said: str) -> None:
    (desk.folder / "open").write_text("secret-word")
    (desk.folder / "open").chmod(0o644)
    text = table.format(folder=desk.folder)
    desk.config.write_text(f'[[account]]\nname = "office"\nuser = "me"\n{text}\n')
    post = Post(desk)
    async with post.peer, running(*post.command()) as forwarder, asyncio.timeout(HANG):
        out, err = await forwarder.communicate()
    assert forwarder.returncode == 78
    assert said in err.decode()
    assert "secret-word" not in (out + err).decode()


async def test_route_with_an_account_that_is_not_there_stops_the_start(desk: Desk) -> None:
    desk.config.write_text("")
    post = Post(desk)
    async with post.peer, running(*post.command()) as forwarder, asyncio.timeout(HANG):
        _, err = await forwarder.communicate()
    assert forwarder.returncode == 78
    assert "there is no [[account]] named office" in err.decode()
