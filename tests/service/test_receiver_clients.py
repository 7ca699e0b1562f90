"""The receiver as a real process, with clients of other projects: swaks, openssl and the like."""

import asyncio
import asyncio.subprocess as sub
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fakes.certificates import Certificates, make_certificates
from tests.service.receiving import HANG, Peer
from tests.service.test_receiver_process import connect, receiver, start

PASSWORD = "open sesame"  # noqa: S105 - of nobody


def speaks_tls() -> bool:
    """Return whether swaks and its Perl module for TLS are installed."""
    perl = ["perl", "-MNet::SSLeay", "-e", "1"]
    return shutil.which("swaks") is not None and (
        subprocess.run(perl, capture_output=True, check=False, timeout=HANG).returncode == 0
    )


needs_swaks = pytest.mark.skipif(not speaks_tls(), reason="needs swaks and libnet-ssleay-perl")


@pytest.fixture(name="files")
def make_files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture(name="flags")
def make_flags(files: Certificates, tmp_path: Path) -> list[str]:
    secrets = tmp_path / "secrets"
    secrets.write_text("server plain alice open+20sesame\n")
    secrets.chmod(0o600)
    return [
        "--domain=relay.test",
        "--interface=127.0.0.1",
        "--port=0",
        f"--spool-dir={tmp_path / 'spool'}",
        f"--server-tls-certificate={files.server}",
        f"--server-auth={secrets}",
    ]


async def swaks(place: str, *arguments: str) -> tuple[int, str]:
    host, _, port = place.rpartition(":")
    process = await asyncio.create_subprocess_exec(
        "swaks", "--server", host, "--port", port, "--to", "r@y.test", "--from", "s@x.test",
        "--timeout", str(int(HANG)), *arguments, stdout=sub.PIPE, stderr=sub.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def messages(folder: Path) -> int:
    return len(list((folder / "spool").glob("emailrelay.*.envelope")))


@needs_swaks
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("tls", ["--tls", "--tls-on-connect"])
async def test_swaks_logs_in_behind_tls_and_pipelines(
    flags: list[str], tmp_path: Path, mechanism: str, tls: str
) -> None:
    flag = "--server-tls" if tls == "--tls" else "--server-tls-connection"
    async with receiver(*flags, flag) as (_, place):
        auth = ["--auth", mechanism, "--auth-user", "alice", "--auth-password", PASSWORD]
        status, output = await swaks(place, tls, *auth, "--pipeline", "--helo", "c")
        assert status == 0, output
        assert "235 2.7.0" in output
        status, output = await swaks(place, tls)
        assert status != 0
        assert "530 5.7.0" in output
    assert messages(tmp_path) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_openssl_sees_the_certificate_and_no_old_version(
    flags: list[str], files: Certificates
) -> None:
    async with receiver(*flags, "--server-tls") as (_, place):

        async def s_client(*arguments: str) -> str:
            process = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-starttls", "smtp", "-connect", place, "-CAfile",
                str(files.authority), *arguments,
                stdin=sub.DEVNULL, stdout=sub.PIPE, stderr=sub.STDOUT,
            )  # fmt: skip
            output, _ = await asyncio.wait_for(process.communicate(), HANG)
            return output.decode(errors="replace")

        assert "Verify return code: 0 (ok)" in await s_client()
        assert "Secure Renegotiation IS NOT supported" in await s_client("-tls1_3")
        old = await s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert "Cipher is (NONE)" in old or "no protocols available" in old


async def test_sighup_changes_the_certificate_for_new_clients_only(
    flags: list[str], files: Certificates, tmp_path: Path
) -> None:
    async with receiver(*flags, "--server-tls-connection") as (process, place):
        host, _, port = place.rpartition(":")

        async def come() -> tuple[Peer, bytes]:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            tls = writer.get_extra_info("ssl_object")
            return Peer(reader, writer), tls.getpeercert(binary_form=True)

        first, before = await come()
        assert (await first.reply()).startswith("220")
        (tmp_path / "new").mkdir()
        files.server.write_bytes(make_certificates(tmp_path / "new").server.read_bytes())
        process.send_signal(signal.SIGHUP)
        await event(process, "reloaded")
        second, after = await come()
        assert before != after
        assert (await first.ask("NOOP")).startswith("250")
        files.server.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        await event(process, "reload-refused")
        third, again = await come()
        assert again == after
        for peer in (first, second, third):
            peer.writer.transport.abort()


async def event(process: sub.Process, name: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(HANG):
        while json.loads(await process.stdout.readline())["event"].replace("_", "-") != name:
            pass


async def test_a_key_that_others_can_read_stops_the_start(
    flags: list[str], files: Certificates
) -> None:
    files.server.chmod(0o644)
    process = await start(*flags, "--server-tls")
    _, error = await asyncio.wait_for(process.communicate(), HANG)
    assert process.returncode == os.EX_CONFIG
    assert b"chmod o=" in error


@needs_swaks
async def test_no_secret_is_in_arguments_environment_or_log(flags: list[str]) -> None:
    async with receiver(*flags, "--server-tls", "--verbose", "--debug") as (process, place):
        for password in (PASSWORD, "a wrong one"):
            auth = ["--auth", "PLAIN", "--auth-user", "alice", "--auth-password", password]
            await swaks(place, "--tls", *auth)
        folder = Path(f"/proc/{process.pid}")
        seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        process.send_signal(signal.SIGTERM)
        log, error = await asyncio.wait_for(process.communicate(), HANG)
        assert process.returncode == 0
    assert b"AUTH PLAIN ***" in log
    for secret in (
        b"open sesame",
        b"a wrong one",
        b"AGFsaWNlAG9wZW4gc2VzYW1l",
        b"AGFsaWNlAGEgd3Jvbmcgb25l",
    ):
        assert secret not in seen + log + error


async def test_without_room_mail_is_refused_before_its_content(flags: list[str]) -> None:
    room = f"--minimum-free={10**18}"
    async with receiver(*flags[:4], room) as (_, place):
        peer = await connect(place)
        await peer.reply()
        await peer.ask("EHLO c")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("452 4.3.1")
        peer.writer.transport.abort()


async def test_a_verifier_that_is_down_floods_no_log(flags: list[str]) -> None:
    down = "--address-verifier=net:127.0.0.1:1"
    async with receiver(*flags[:4], down, "--log-format=json") as (process, place):
        peer = await connect(place)
        await peer.reply()
        for command in ("EHLO c", "MAIL FROM:<a@b>"):
            assert (await peer.ask(command)).startswith("250")
        for number in range(200):
            assert (await peer.ask(f"RCPT TO:<r{number}@b>")).startswith("451 4.4.3")
        peer.writer.transport.abort()
        process.send_signal(signal.SIGTERM)
        log, _ = await asyncio.wait_for(process.communicate(), HANG)
    told = [json.loads(line) for line in log.splitlines()]
    assert len([line for line in told if line["event"] == "verifier_trouble"]) == 1
    left_out = {line["kind"]: line["lines"] for line in told if line["event"] == "left_out"}
    assert left_out["verifier_trouble"] == 199
    assert len(told) < 30


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed")
def test_a_flood_of_clients_exhausts_no_descriptors_and_floods_no_log(flags: list[str]) -> None:
    command = [sys.executable, "-m", "emailrelay_receiver", *flags[:4], "--log-format=json"]
    with subprocess.Popen(["prlimit", "--nofile=64", *command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        place = ""
        while (told := json.loads(process.stdout.readline()))["event"] != "started":
            place = told.get("address", place)
        host, _, port = place.rpartition(":")

        def come() -> socket.socket:
            return socket.create_connection((host, int(port)), timeout=HANG)

        clients = [come() for _ in range(200)]
        assert [_first(client) for client in clients[:60]].count("220") >= 5
        for client in clients:
            client.close()
        until = time.monotonic() + HANG
        while _first(client := come()) != "220":
            client.close()
            assert time.monotonic() < until
        client.sendall(b"QUIT\r\n")
        assert b"221 2.0.0" in client.makefile("rb").read()
        client.close()
        process.send_signal(signal.SIGTERM)
        log = process.stdout.read().decode()
        assert process.wait(HANG) == 0
    assert len(log.splitlines()) < 60
    assert "Traceback" not in log


def _first(client: socket.socket) -> str:
    try:
        return client.recv(3).decode()
    except OSError:
        return ""
