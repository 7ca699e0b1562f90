"""The forwarder as a process with TLS and login: options, files, its log."""

import asyncio
import json
import os
import pwd
import sys
from asyncio.subprocess import PIPE
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.forked import run_forked
from tests.service.certificates import Authority
from tests.service.forwarder_process import forwarder, put

from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

PASSWORD = "correct+horse"  # noqa: S105 -- of a server that is in these tests only


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
async def store(spool: Path) -> AsyncIterator[Store]:
    async with open_store(spool, report=lambda _event: None) as opened:
        yield opened


def secrets(folder: Path, password: str = PASSWORD) -> Path:
    path = folder / "auth"
    path.touch(0o600)
    path.write_text(f"client plain alice {password.replace('+', '+2B')}\n")
    return path


@pytest.mark.parametrize("loud", [[], ["--verbose"], ["--debug"]])
async def test_no_secret_is_in_the_log(
    authority: Authority, tmp_path: Path, store: Store, spool: Path, loud: list[str]
) -> None:
    await put(store)
    options = [f"--client-tls-verify={authority.path}", f"--client-auth={secrets(tmp_path)}", *loud]
    for offers in ("AUTH PLAIN", "AUTH LOGIN", "AUTH CRAM-MD5"):
        async with SecurePeer(authority.context(), offers=(offers,), echoes=True) as peer:
            async with forwarder(spool, peer.address, "--once", *options) as running:
                assert await running.end() == 1
            assert "sign_in_refused" in running.names()
            answers = [line.split()[-1] for line in peer.lines if len(line) > 20]
        told = json.dumps(running.told)
        for secret in (PASSWORD, b64encode(PASSWORD.encode()).decode(), *answers):
            assert secret not in told
    async with SecurePeer(
        authority.context(), offers=("AUTH PLAIN",), passwords={"alice": PASSWORD}
    ) as peer:
        async with forwarder(spool, peer.address, "--once", *options) as running:
            assert await running.end() == 0
        assert len(peer.contents) == 1
        assert b"AUTH" not in peer.clear
    assert PASSWORD not in json.dumps(running.told)


async def test_changed_password_is_used_without_a_restart(
    authority: Authority, tmp_path: Path, store: Store, spool: Path
) -> None:
    path = secrets(tmp_path, "old")
    options = [f"--client-tls-verify={authority.path}", f"--client-auth={path}"]
    await put(store)
    async with (
        SecurePeer(
            authority.context(), offers=("AUTH PLAIN",), passwords={"alice": PASSWORD}
        ) as peer,
        forwarder(spool, peer.address, *options) as running,
    ):
        await running.until("sign_in_refused")
        secrets(tmp_path)
        running.process.send_signal(10)  # SIGUSR1: try now
        await running.until("delivered")
        assert await running.stop() == 0
    assert peer.verbs().count("AUTH") == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--client-auth=/nonexistent/auth", "/nonexistent/auth"),
        ("--client-tls-verify=/nonexistent/ca.pem", "/nonexistent/ca.pem"),
        ("--client-tls-certificate=/nonexistent/own.pem", "/nonexistent/own.pem"),
    ],
)
def test_missing_file_stops_the_start(spool: Path, option: str, said: str) -> None:
    where = (f"--spool-dir={spool}", "--forward-to=127.0.0.1:1")
    done = run_forked("emailrelay-forwarder", *where, option)
    assert done.returncode == 78
    assert said in done.stderr


async def test_secrets_that_others_can_read_stop_the_start(tmp_path: Path, spool: Path) -> None:
    path = secrets(tmp_path)
    path.chmod(0o644)
    command = [sys.executable, "-m", "emailrelay_forwarder", f"--spool-dir={spool}"]
    process = await asyncio.create_subprocess_exec(
        *command, "--forward-to=127.0.0.1:1", f"--client-auth={path}", stderr=PIPE, stdout=PIPE
    )
    async with asyncio.timeout(30):
        _, told = await process.communicate()
    assert process.returncode == 78
    assert PASSWORD not in told.decode()


async def test_historical_command_logs_in(
    authority: Authority, tmp_path: Path, store: Store, spool: Path
) -> None:
    await put(store)
    async with SecurePeer(
        authority.context(), offers=("AUTH LOGIN PLAIN",), passwords={"alice": PASSWORD}
    ) as peer:
        command = [sys.executable, "-m", "emailrelay.classic", "-q", peer.address, "-s", str(spool)]
        command += ["-j", "--client-tls-verify", authority.path, "-C", str(secrets(tmp_path))]
        # Root would become a user without access to the test's directory.
        command += ["--user", pwd.getpwuid(os.geteuid()).pw_name]
        process = await asyncio.create_subprocess_exec(
            *command, "--client-auth-config", "m:login", stderr=PIPE, stdout=PIPE
        )
        async with asyncio.timeout(30):
            _, told = await process.communicate()
        assert process.returncode == 0, told.decode()
    assert peer.signed_in == [("alice", "LOGIN")]
    assert len(peer.contents) == 1
    assert PASSWORD not in told.decode()


async def test_filter_cannot_have_the_password_sent_to_another_server(
    authority: Authority, tmp_path: Path, store: Store, spool: Path
) -> None:
    await put(store)
    offers, passwords = ("AUTH PLAIN",), {"alice": PASSWORD}
    async with (
        SecurePeer(authority.context(), offers=offers, passwords=passwords) as own,
        SecurePeer(authority.context(), offers=offers, passwords=passwords) as other,
    ):
        elsewhere = tmp_path / "filter"
        elsewhere.write_text(
            "#!/bin/sh\n"
            "sed -i 's/^X-MailRelay-ForwardToAddress: .*/"
            f"X-MailRelay-ForwardToAddress: {other.address}\\r/'"
            ' "$2"\n'
        )
        elsewhere.chmod(0o755)
        options = [
            f"--client-tls-verify={authority.path}",
            f"--client-auth={secrets(tmp_path)}",
            f"--client-filter={elsewhere}",
        ]
        async with forwarder(spool, own.address, "--once", *options) as running:
            assert await running.end() == 1
        assert (own.lines, other.lines) == ([], [])
        [told] = [event for event in running.told if event["event"] == "sign_in_refused"]
        assert f"is not for {other.address}" in told["reason"]
        also = f"--client-auth-servers={other.address}"
        async with forwarder(spool, own.address, "--once", *options, also) as running:
            assert await running.end() == 0
    assert other.signed_in == [("alice", "PLAIN")]
