"""emailrelay-doctor recognises other servers than mail servers, and names the remedy."""

import asyncio
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.deaf_address import DeafAddress
from tests.fakes.secure_peer import SecurePeer
from tests.fakes.smtp_peer import Act, Close, Hang, Say, SmtpPeer
from tests.fakes.stranger import StrangePeer
from tests.service.certificates import Authority

from emailrelay_forwarder.doctor import unknown_server
from emailrelay_forwarder.doctor.cli import main
from emailrelay_forwarder.doctor.unknown_server import ServerKind, known_by

BUSY = "busy"
HASTY = ["--connection-timeout=2", "--prompt-timeout=0.5", "--response-timeout=0.5"]
"""For servers that are silent; the others get the time that a slow machine needs."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown_server, "PATIENCE", 2.0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def problem(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Give the one problem that the doctor finds."""
    assert await asyncio.to_thread(main, ["--json", "--domain=us.test", *arguments]) == 1
    [server] = json.loads(capsys.readouterr().out)["servers"]
    [found] = [entry for entry in server["steps"] if entry["result"] == "problem"]
    return dict(found)


@pytest.mark.parametrize("mode", [(), ("--client-tls-connection",)])
@pytest.mark.parametrize(
    ("peer", "remedy"),
    [
        (StrangePeer(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "an SSH server"),
        (StrangePeer(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n"), "a web server"),
        (StrangePeer(b"* OK [CAPABILITY IMAP4rev1] ready\r\n"), "an IMAP server"),
        (StrangePeer(b"+OK POP3 ready\r\n"), "a POP3 server"),
        (StrangePeer(b"\xff\xfd\x18\xff\xfd\x20"), "not a mail server"),
        (StrangePeer(closes=True), "closed without a greeting"),
        (StrangePeer(), "nothing is sent"),
    ],
)
async def test_what_is_no_mail_server_is_told_by_its_name(
    capsys: pytest.CaptureFixture[str],
    peer: StrangePeer,
    remedy: str,
    mode: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speaks = peer.banner.endswith(b"\n") or peer.closes
    if not (peer.banner or peer.answer or peer.closes):
        monkeypatch.setattr(unknown_server, "PATIENCE", 0.5)
    async with peer:
        found = await problem(capsys, peer.address, *mode, *([] if speaks else HASTY))
    assert remedy in found["remedy"]
    assert BUSY not in found["remedy"]


async def test_tls_from_the_first_octet_is_found_on_any_port(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    async with SecurePeer(authority.context(), implicit=True) as peer:
        found = await problem(capsys, peer.address, *HASTY)
    assert "set client-tls-connection" in found["remedy"]


async def test_web_server_under_tls_is_not_taken_for_a_mail_server(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    async with StrangePeer(answer=b"HTTP/1.1 400\r\n\r\n", context=authority.context()) as peer:
        found = await problem(capsys, peer.address, *HASTY)
    assert "no mail server greets there" in found["remedy"]


async def test_server_that_speaks_in_clear_is_found_where_tls_was_expected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with SmtpPeer() as peer:
        found = await problem(capsys, peer.address, "--client-tls-connection")
    assert "leave out client-tls-connection" in found["remedy"]


async def test_server_without_starttls_is_not_asked_for_it_with_another_setting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with SmtpPeer() as peer:
        found = await problem(capsys, peer.address, "--client-tls-required")
    assert "the server offers no STARTTLS" in found["text"]
    assert "use a port on which the server encrypts" in found["remedy"]


@pytest.mark.parametrize(
    ("script", "text", "remedy"),
    [
        (
            {"greeting": "554 5.7.1 no"},
            "the server said: 554 5.7.1 no",
            "the server refuses this machine",
        ),
        (
            {"greeting": "421 4.3.2 later"},
            "the server said: 421 4.3.2 later",
            "too many connections from here",
        ),
        (
            {"EHLO": Close()},
            "the server closed the connection at EHLO",
            "refuse this machine's address or name",
        ),
        ({"EHLO": Hang()}, "no answer within 0.5 s at EHLO", "silent at EHLO"),
        (
            {"EHLO": "530 Please login with USER and PASS."},
            "the server said: 530 Please login with USER and PASS.",
            "FTP",
        ),
        (
            {"EHLO": "500 what?", "HELO": "500 what?"},
            "the server said: 500 what?",
            "not a mail server",
        ),
    ],
)
async def test_refusal_and_loss_before_mail_are_told_apart(
    capsys: pytest.CaptureFixture[str], script: dict[str, Act], text: str, remedy: str
) -> None:
    hangs = any(isinstance(act, Hang) for act in script.values())
    async with SmtpPeer(script) as peer:
        found = await problem(capsys, peer.address, *(HASTY[2:] if hangs else []))
    assert found["text"] == text
    assert remedy in found["remedy"]


async def test_certificates_of_the_wrong_name_or_time_are_told_apart(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    day, year = timedelta(days=1), timedelta(days=365)
    contexts: dict[str, ssl.SSLContext] = {
        "client-tls-verify-name": authority.context("other.test"),
        "must renew": authority.context(not_before=now - year, not_after=now - day),
        "this machine's clock": authority.context(not_before=now + day, not_after=now + year),
    }
    for remedy, context in contexts.items():
        async with SecurePeer(context) as peer:
            found = await problem(capsys, peer.address, f"--client-tls-verify={authority.path}")
        assert found["step"] == "TLS"
        assert remedy in found["remedy"]


async def test_address_that_does_not_answer_is_no_problem_beside_one_that_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SmtpPeer() as peer:
        with DeafAddress() as deaf, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            ports = [closed.getsockname()[1], deaf.port, peer.port]
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")

            def three(*_args: object, **_kwargs: object) -> object:
                return [(*kind, ("127.0.0.1", port)) for port in ports]

            monkeypatch.setattr(socket, "getaddrinfo", three)
            options = ["--json", "--domain=us.test", "--connection-timeout=1.5"]
            assert await asyncio.to_thread(main, ["three.test:25", *options]) == 0
    [server] = json.loads(capsys.readouterr().out)["servers"]
    steps = [(entry["step"], entry["result"]) for entry in server["steps"]]
    assert steps[1:4] == [
        (f"TCP 127.0.0.1:{port}", result)
        for port, result in zip(ports, ("note", "note", "ok"), strict=True)
    ]
    assert "EHLO" in dict(steps)


@pytest.mark.parametrize(
    ("number", "text", "remedy"),
    [
        (socket.EAI_NONAME, "the name is not known", "spelling"),
        (socket.EAI_AGAIN, "no name server answers now", "/etc/resolv.conf"),
    ],
)
async def test_missing_name_and_missing_name_server_are_told_apart(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    text: str,
    remedy: str,
) -> None:
    def none(*_args: object, **_kwargs: object) -> object:
        raise socket.gaierror(number, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", none)
    found = await problem(capsys, "away.test:25")
    assert found["text"] == f"no address of away.test found: {text}"
    assert remedy in found["remedy"]
    assert "Errno" not in found["text"]


def test_host_without_a_port_is_asked_for_its_port(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["localhost"]) == 64
    [told] = capsys.readouterr().err.splitlines()
    assert "localhost:587" in told
    assert "localhost:25" in told
    assert "nowhere" not in told
    config = tmp_path / "relay.toml"
    config.write_text('[[route]]\nname = "isp"\nrecipient = ["a.test"]\nsmarthosts = ["a:1"]\n')
    assert main(["localhost", "--config", str(config)]) == 64
    assert "there are: isp." in capsys.readouterr().err


async def test_nothing_a_server_says_reaches_the_terminal_raw(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = "\x1b[2J\x9b31m\u202egnp"
    said = f"250-peer.test\r\n250-X{evil}\r\n250 8BITMIME".encode()
    scripts: list[dict[str, Act]] = [
        {"EHLO": Say(said + b"\r\n")},
        {"greeting": Say(f"554 {evil}\r\n".encode())},
        {"greeting": Say(f"{evil}\r\n".encode())},
        {"MAIL": Say(f"550 {evil}\r\n".encode())},
    ]
    for script in scripts:
        async with SmtpPeer(script) as peer:
            arguments = [peer.address, "--from=a@us.test", *HASTY]
            await asyncio.to_thread(main, arguments)
        told = capsys.readouterr()
        assert all(line.isprintable() for line in (told.out + told.err).split("\n"))


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"", None),
        (b"220 mail.test ESMTP\r\n", ServerKind.MAIL),
        (b"\x15\x03\x03\x00\x02\x02\x32", ServerKind.TLS),
        (b"<html>", ServerKind.HTTP),
        (b"\0\0\0", ServerKind.OTHER),
    ],
)
def test_first_octets_tell_the_protocol(octets: bytes, kind: ServerKind | None) -> None:
    assert known_by(octets) is kind
