"""The check of settings finds all that prevents the startup of a service."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from tests.fakes.certificates import make_certificates
from tests.forked import Born

from emailrelay.config import FilterdSettings, ForwarderSettings, ReceiverSettings, flags
from emailrelay.config.command import findings
from emailrelay.config.findings import CheckScope, FindingLevel, SettingFinding
from emailrelay.config.reading import collect
from emailrelay_filterd.check import check as check_filterd
from emailrelay_forwarder.check import check as check_forwarder
from emailrelay_receiver.check import check as check_receiver

ACCOUNT = "[[account]]\nname = 'isp'\nuser = 'me'\nmechanism = 'plain'\n"
TO = "forward_to = '127.0.0.1:9'\n"
HERE = "interface = ['127.0.0.1']\nport = 0\n"
PROBLEMS: list[tuple[str, str, str, str]] = [
    # service, settings, setting, words of the finding
    ("receiver", "interface = ['127.0.0.1']\nport = {taken}", "port", "Address already in use"),
    ("receiver", "interface = ['192.0.2.7']\nport = 0", "interface", "Cannot assign requested"),
    ("receiver", "interface = ['no-such-host.invalid']\nport = 0", "interface", "cannot listen"),
    ("receiver", "interface = ['{here}/none/socket']", "interface", "there is no directory"),
    ("receiver", "interface = ['{here}/{long}']", "interface", "at most 107 octets"),
    ("receiver", "interface = ['{text}']", "interface", "is a file, not a socket"),
    ("receiver", "interface = ['fd#99']", "interface", "no such socket"),
    ("receiver", HERE + "server_tls = true", "server_tls_certificate", "needs a certificate"),
    (
        "receiver",
        HERE + "server_tls_certificate = ['{here}/none']",
        "server_tls_certificate",
        "none",
    ),
    ("receiver", HERE + "server_tls_certificate = ['{text}']", "server_tls_certificate", "PEM"),
    (
        "receiver",
        HERE + "server_tls_certificate = ['{other}', '{server}']",
        "server_tls_certificate",
        "KEY_VALUES_MISMATCH",
    ),
    (
        "receiver",
        HERE + "server_tls = true\nserver_tls_certificate = ['{server}']\n"
        "server_tls_verify = '{text}'",
        "server_tls_verify",
        "no usable certificates",
    ),
    ("receiver", HERE + "server_auth = '{here}/none'", "server_auth", "cannot be read"),
    ("receiver", HERE + "server_auth = '{text}'", "server_auth", "needs four or five words"),
    ("receiver", HERE + "ack = 'filtered'", "ack", "needs a filter"),
    (
        "receiver",
        HERE + "[[allow]]\nname = 'a'\nnetwork = ['lan']\nsender = ['*']",
        "allow",
        "network",
    ),
    ("receiver", HERE + "store_fallback = 'spool:///x'", "store_fallback", "beside a store"),
    ("receiver", HERE + "spool_dir = '{text}'", "spool_dir", "Not a directory"),
    ("receiver", HERE + "spool_dir = '{open}'", "spool_dir", "writable by all users"),
    ("receiver", HERE + "prot = 25", "", "did you mean port?"),
    ("receiver", HERE + "size = 'big'", "size", "must be a whole number"),
    ("filterd", "filter = ['magic:1']", "filter", "there is no kind 'magic'"),
    ("filterd", "spool_dir = '{text}/mail'", "spool_dir", "Not a directory"),
    ("filterd", "store = 'nonsense:'", "store", "no such store"),
    ("filterd", "store = 'postgresql://127.0.0.1:9/mail'", "store", "refused"),
    ("forwarder", "", "forward_to", "no server to forward to"),
    ("forwarder", "forward_to = 'smtp.example.net'", "forward_to", "needs host and port"),
    ("forwarder", TO + "client_auth = '{here}/none'", "client_auth", "cannot be read"),
    ("forwarder", TO + "client_tls_verify = '{text}'", "client_tls_verify", "no certificates"),
    ("forwarder", TO + "client_tls_certificate = ['{text}']", "client_tls_certificate", "PEM"),
    ("forwarder", TO + ACCOUNT + "password_file = '{here}/none'", "account", "cannot be read"),
    (
        "forwarder",
        TO + "[[route]]\nname = 'a'\nsmarthosts = ['127.0.0.1:9']\naccount = 'b'",
        "route",
        "there is no [[account]] named b",
    ),
    ("forwarder", TO + "spool_dir = '{text}'", "spool_dir", "Not a directory"),
]
HURT: list[tuple[str, str, str, str, str]] = [
    # service, settings, level, setting, words of the finding
    (
        "receiver",
        "server_tls = true\nserver_tls_certificate = ['{expired}']",
        "problem",
        "server_tls_certificate",
        "the certificate has expired",
    ),
    (
        "receiver",
        "server_tls = true\nserver_tls_certificate = ['{ending}']",
        "warning",
        "server_tls_certificate",
        "in 9 days; renew it",
    ),
    (
        "forwarder",
        TO + "client_tls_certificate = ['{expired}']",
        "problem",
        "client_tls_certificate",
        "the certificate has expired",
    ),
    ("receiver", "filter = ['{text}']", "problem", "filter", "is not executable"),
    ("receiver", "filter = ['net:127.0.0.1:9']", "warning", "filter", "cannot be reached"),
    (
        "receiver",
        "address_verifier = 'net:/none'",
        "warning",
        "address_verifier",
        "cannot be reached",
    ),
    ("receiver", "remote_clients = true", "warning", "remote_clients", "an open relay"),
    ("receiver", "server_auth = '{secrets}'", "warning", "server_auth", "without encryption"),
    ("receiver", "minimum_free = 1000000000000000", "warning", "spool_dir", "are free, less than"),
    (
        "forwarder",
        "forward_to = 'no-such-host.invalid:25'",
        "warning",
        "forward_to",
        "cannot be looked up",
    ),
    ("forwarder", "forward_to = '/none'", "warning", "forward_to", "there is no such socket"),
    (
        "forwarder",
        TO + "client_interface = '192.0.2.7'",
        "problem",
        "client_interface",
        "cannot connect from",
    ),
    (
        "forwarder",
        TO + "client_auth = '{users}'",
        "problem",
        "client_auth",
        "no client line without a selector",
    ),
]
GOOD = [
    ("receiver", HERE),
    ("receiver", HERE + "server_tls = true\nserver_tls_certificate = ['{server}']"),
    ("receiver", "interface = ['{here}/socket']"),
    ("filterd", "filter = ['exit:0']"),
    ("forwarder", TO),
    ("forwarder", TO + "client_tls_certificate = ['{client}']\nclient_auth = '{secrets}'"),
]


@pytest.fixture(autouse=True)
def _long_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the machine a name with a domain: there is a finding about another one."""
    monkeypatch.setattr(socket, "gethostname", lambda: "relay.test")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Give the names of files for settings."""
    tmp_path = tmp_path_factory.mktemp("check")
    certificates = make_certificates(tmp_path)
    (tmp_path / "text").write_text("no form\n")
    (tmp_path / "secrets").write_text("client plain me sesame\nserver plain you sesame\n")
    (tmp_path / "users").write_text("server plain you sesame\n")
    (tmp_path / "other").write_bytes(certificates.client.read_bytes())
    now = datetime.now(UTC)
    for name, ends in (("expired", now - timedelta(days=1)), ("ending", now + timedelta(days=9.5))):
        pem = trustme.CA().issue_cert(
            "localhost", not_before=now - timedelta(days=30), not_after=ends
        )
        pem.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / name))
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield {
            "here": tmp_path,
            "long": "x" * 120,
            "taken": taken.getsockname()[1],
            "server": certificates.server,
            "client": certificates.client,
            **{
                name: tmp_path / name
                for name in ("text", "secrets", "users", "other", "expired", "ending", "open")
            },
        }


def write(words: dict[str, object], text: str) -> Path:
    filled = text.format(**words)
    spool = (
        "" if "spool_dir" in text or "store =" in text else f"spool_dir = '{words['here']}/mail'\n"
    )
    path = Path(f"{words['here']}/emailrelay.toml")
    path.write_text(f"{spool}{filled}\n")
    return path


def found(service: str, path: Path) -> list[SettingFinding]:
    """Give the findings of the check, as --check-config makes them."""
    argv = ["--config", str(path)]
    match service:
        case "receiver":
            receiver = collect(ReceiverSettings, flags.parse(ReceiverSettings, argv), {})
            return findings(receiver, check_receiver, CheckScope())
        case "filterd":
            filterd = collect(FilterdSettings, flags.parse(FilterdSettings, argv), {})
            return findings(filterd, check_filterd, CheckScope())
        case _:
            forwarder = collect(ForwarderSettings, flags.parse(ForwarderSettings, argv), {})
            return findings(forwarder, check_forwarder, CheckScope())


def start(service: str, path: Path) -> tuple[int, str]:
    """Start a service, stop it when it has started, and give its status and what it said."""
    out = path.with_suffix(".log")
    out.write_text("")
    running = Born([f"emailrelay-{service}", "--config", str(path)], out, out)
    stopped = False
    while running.poll() is None:
        if not stopped and '"event":"started"' in out.read_text():
            os.kill(running.pid, signal.SIGTERM)
            stopped = True
        time.sleep(0.01)
    return running.wait(), out.read_text()


@pytest.mark.parametrize(("service", "text", "setting", "told"), PROBLEMS)
def test_settings_with_which_a_service_does_not_start_are_found(
    service: str, text: str, setting: str, told: str, words: dict[str, object]
) -> None:
    path = write(words, text)

    (finding,) = (each for each in found(service, path) if each.level is FindingLevel.PROBLEM)

    assert told in finding.text or told in str(finding)
    assert finding.setting == setting
    if setting:
        assert setting in finding.source
    status, said = start(service, path)
    assert status in {69, 75, 78}, said
    assert '"event":"started"' not in said


@pytest.mark.parametrize("row", HURT)
def test_settings_that_hurt_the_work_are_found(
    row: tuple[str, str, str, str, str], words: dict[str, object]
) -> None:
    service, text, level, setting, told = row
    more = HERE if service == "receiver" else ""

    (finding,) = found(service, write(words, more + text))

    assert (finding.level, finding.setting) == (level, setting)
    assert told in finding.text
    assert f"{setting} in {words['here']}/emailrelay.toml, line " in finding.source


@pytest.mark.parametrize(("service", "text"), GOOD)
def test_settings_without_a_finding_start_the_service(
    service: str, text: str, words: dict[str, object]
) -> None:
    path = write(words, text)

    assert found(service, path) == []
    status, said = start(service, path)
    assert status == 0, said
    assert '"event":"started"' in said


def test_all_problems_are_found_at_once(words: dict[str, object]) -> None:
    path = write(
        words,
        "interface = ['127.0.0.1']\nport = {taken}\nsize = 'big'\nprot = 1\n"
        "server_auth = '{here}/none'\nfilter = ['{here}/no-filter']\n",
    )

    assert sorted(each.setting for each in found("receiver", path)) == [
        "",
        "filter",
        "port",
        "server_auth",
        "size",
    ]
