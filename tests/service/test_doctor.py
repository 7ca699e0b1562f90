"""emailrelay-doctor: each step with its result, a remedy for each problem, and no message sent."""

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.fakes.smtp_peer import Hang, SmtpPeer
from tests.service.certificates import Authority

from emailrelay_forwarder.doctor import unknown_server
from emailrelay_forwarder.doctor.cli import main


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    path = tmp_path / "auth"
    path.write_text("client plain alice open+20sesame\n")
    path.chmod(0o600)
    return path


class Examined:
    """The doctor's JSON about one server."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        [server] = json.loads(text)["servers"]
        self.steps: list[dict[str, Any]] = server["steps"]

    def of(self, step: str) -> dict[str, Any]:
        [found] = [entry for entry in self.steps if entry["step"] == step]
        return found

    @property
    def problem(self) -> dict[str, Any]:
        [found] = [entry for entry in self.steps if entry["result"] == "problem"]
        return found


async def examine(capsys: pytest.CaptureFixture[str], *arguments: str) -> Examined:
    """Run the command in a thread: it has a loop of its own."""
    options = ["--json", "--domain=us.test"]
    status = await asyncio.to_thread(main, [*options, *arguments])
    return Examined(status, capsys.readouterr().out)


async def test_sound_server_passes_each_step(
    authority: Authority, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with SecurePeer(
        authority.context(), offers=("AUTH PLAIN",), passwords={"alice": "open sesame"}
    ) as peer:
        found = await examine(
            capsys,
            peer.address,
            f"--client-tls-verify={authority.path}",
            f"--client-auth={secrets}",
            "--from=a@us.test",
            "--to=b@there.test",
        )
    assert found.status == 0
    assert [entry["step"] for entry in found.steps] == [
        "DNS",
        f"TCP {peer.address}",
        "EHLO",
        "STARTTLS",
        "TLS",
        "EHLO under TLS",
        "AUTH",
        "MAIL <a@us.test>",
        "RCPT <b@there.test>",
        "RSET",
    ]
    tls = found.of("TLS")
    assert (tls["protocol"], tls["verified"], tls["names"]) == ("TLSv1.3", True, ["127.0.0.1"])
    assert peer.signed_in == [("alice", "PLAIN")]
    assert peer.contents == []
    assert "DATA" not in peer.verbs()
    assert peer.verbs()[-2:] == ["RSET", "QUIT"]
    assert "sesame" not in found.text


async def test_refused_login_is_tried_once_and_explained(
    authority: Authority, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "535 5.7.139 Authentication unsuccessful, basic authentication is disabled"
    async with SecurePeer(authority.context(), offers=("AUTH PLAIN",), refusal=said) as peer:
        found = await examine(
            capsys,
            peer.address,
            f"--client-tls-verify={authority.path}",
            f"--client-auth={secrets}",
            "--from=a@us.test",
        )
    assert found.status == 1
    assert "xoauth2" in found.problem["remedy"]
    assert peer.verbs().count("AUTH") == 1
    assert "MAIL" not in peer.verbs()


async def test_account_of_the_settings_is_not_tried_at_a_server_named_by_mistake(
    authority: Authority, secrets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offers, passwords = ("AUTH PLAIN",), {"alice": "open sesame"}
    async with (
        SecurePeer(authority.context(), offers=offers, passwords=passwords) as own,
        SecurePeer(authority.context(), offers=offers, passwords=passwords) as other,
    ):
        config = tmp_path / "relay.toml"
        config.write_text(
            f'forward_to = "{own.address}"\nclient_auth = "{secrets}"\n'
            f'client_tls_verify = "{authority.path}"\n'
        )
        named = (f"--config={config}",)
        assert "other servers" in (await examine(capsys, other.address, *named)).of("AUTH")["text"]
        assert other.signed_in == []
        await examine(capsys, own.address, *named)
        await examine(capsys, other.address, *named, f"--client-auth={secrets}")
    assert [user for user, _ in own.signed_in + other.signed_in] == ["alice", "alice"]


async def test_untrusted_certificate_is_a_problem_only_where_it_is_verified(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    async with SecurePeer(authority.context()) as peer:
        lax = await examine(capsys, peer.address)
        strict = await examine(capsys, peer.address, "--client-tls-verify=<default>")
    assert lax.status == 0
    assert lax.of("certificate")["result"] == "note"
    assert lax.of("TLS")["verified"] is False
    assert strict.status == 1
    assert "cannot be trusted" in strict.problem["text"]
    assert "client-tls-verify" in strict.problem["remedy"]


async def test_certificate_that_ends_soon_is_noted(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = datetime.now(UTC) + timedelta(days=3, hours=1)
    async with SecurePeer(authority.context(not_after=soon), implicit=True) as peer:
        found = await examine(
            capsys,
            peer.address,
            "--client-tls-connection",
            f"--client-tls-verify={authority.path}",
        )
    assert found.status == 0
    assert found.of("certificate")["text"] == "the certificate expires in 3 days"


async def test_login_without_encryption_is_refused_before_it_is_said(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with SecurePeer(offers=("AUTH PLAIN",)) as peer:
        found = await examine(capsys, peer.address, f"--client-auth={secrets}")
    assert found.status == 1
    assert "STARTTLS" in found.problem["text"]
    assert b"AUTH" not in peer.clear


async def test_refused_recipient_is_explained_and_the_envelope_taken_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = {"RCPT": "554 5.7.1 <b@there.test>: Relay access denied"}
    async with SmtpPeer(script) as peer:
        found = await examine(capsys, peer.address, "--to=b@there.test")
        await peer.until(closed=True)
    assert found.status == 1
    assert "login" in found.problem["remedy"]
    assert peer.lines("MAIL") == ["MAIL FROM:<>"]
    assert peer.lines("RSET") == ["RSET"]
    assert peer.lines("DATA") == []


async def test_port_without_a_listener_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    found = await examine(capsys, f"127.0.0.1:{port}")
    assert found.status == 1
    assert "no server listens there" in found.problem["remedy"]


async def test_silent_server_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_server, "PATIENCE", 0.5)
    async with SmtpPeer({"greeting": Hang()}) as peer:
        found = await examine(capsys, peer.address, "--prompt-timeout=1")
    assert found.status == 1
    assert found.problem["step"] == "the greeting"


async def test_tls_where_the_server_speaks_first_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with SmtpPeer() as peer:
        found = await examine(capsys, peer.address, "--client-tls-connection")
    assert found.status == 1
    assert "leave out client-tls-connection" in found.problem["remedy"]


async def test_all_routes_and_their_servers_are_examined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with SmtpPeer() as usual, SmtpPeer() as other, SmtpPeer() as spare:
        config = tmp_path / "emailrelay.toml"
        config.write_text(
            f'forward_to = "{usual.address}"\n[[route]]\nname = "isp"\n'
            f'smarthosts = ["{other.address}", "{spare.address}"]\n'
        )
        assert await asyncio.to_thread(main, ["-c", str(config)]) == 0
        table = capsys.readouterr().out
        assert await asyncio.to_thread(main, ["-c", str(config), "isp", "--json"]) == 0
        chosen = json.loads(capsys.readouterr().out)
    for name in (usual.address, f"isp: {other.address}", f"isp: {spare.address}"):
        assert name in table.split("\n")
    assert [server["server"] for server in chosen["servers"]] == [
        f"isp: {other.address}",
        f"isp: {spare.address}",
    ]


@pytest.mark.parametrize(
    "arguments",
    [[], ["isp"], ["127.0.0.1:99999"], ["127.0.0.1:25", "--no-such-option"]],
)
def test_wrong_question_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 64
    assert capsys.readouterr().err.startswith("emailrelay-doctor: ")
