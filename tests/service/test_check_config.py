"""--check-config reads everything that the services would read."""

from pathlib import Path

import pytest
from tests.fakes.certificates import make_certificates
from tests.forked import run_forked

ACCOUNT = '[[account]]\nname = "isp"\nuser = "me"\n'
OAUTH2 = (
    "[account.oauth2]\nprovider = 'custom'\ngrant = 'client-credentials'\nclient_id = 'x'\n"
    "token_url = 'https://login.example.net/token'\n"
)
SECRETS = [
    ("receiver", "server_auth = '{file}'"),
    ("receiver", "server_tls = true\nserver_tls_certificate = ['{file}']"),
    ("forwarder", "client_auth = '{file}'"),
    ("forwarder", ACCOUNT + "mechanism = 'plain'\npassword_file = '{file}'"),
    ("forwarder", ACCOUNT + "mechanism = 'xoauth2'\n" + OAUTH2 + "client_secret_file = '{file}'"),
]
PROGRAMS = [
    ("receiver", "filter = ['{file}']"),
    ("filterd", "filter = ['{file}']"),
    ("forwarder", "client_filter = ['{file}']"),
    ("receiver", "address_verifier = '{file}'"),
]


def check(service: str, settings: Path) -> tuple[int, str, str]:
    ended = run_forked(f"emailrelay-{service}", "--check-config", "-c", str(settings))
    return ended.returncode, ended.stdout, ended.stderr


def write(tmp_path: Path, setting: str, file: Path) -> Path:
    settings = tmp_path / "relay.toml"
    settings.write_text(f"forward_to = 'h:25'\n{setting.format(file=file)}\n")
    return settings


@pytest.mark.parametrize(("service", "setting"), SECRETS)
def test_a_secret_that_others_can_read_is_found(service: str, setting: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("line")
    if "certificate" in setting:
        file.write_bytes(make_certificates(tmp_path).server.read_bytes())
    elif "_auth" in setting:
        file.write_text("server plain x y\nclient plain x y\n")
    settings = write(tmp_path, setting, file)
    file.chmod(0o644)
    status, _, said = check(service, settings)
    assert status == 78
    assert f"{file}: holds" in said
    assert "chmod o=" in said
    file.chmod(0o600)
    assert check(service, settings)[0] == 0


@pytest.mark.parametrize(("service", "setting"), [*SECRETS, *PROGRAMS])
def test_a_file_that_is_missing_is_found(service: str, setting: str, tmp_path: Path) -> None:
    status, _, said = check(service, write(tmp_path, setting, tmp_path / "none"))
    assert status == 78
    assert f"{tmp_path}/none: " in said


@pytest.mark.parametrize(("service", "setting"), PROGRAMS)
def test_a_program_that_cannot_be_run_is_found(service: str, setting: str, tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_text("#!/bin/sh\n")
    settings = write(tmp_path, setting, file)
    file.chmod(0o644)
    status, _, said = check(service, settings)
    assert status == 78
    assert f"{file}: is not executable" in said
    file.chmod(0o755)
    assert check(service, settings)[0] == 0


@pytest.mark.parametrize(("withheld", "warned"), [("'content'", True), ("'vrfy'", False)])
def test_relay_that_cannot_notice_a_loop_is_told(
    withheld: str, *, warned: bool, tmp_path: Path
) -> None:
    settings = write(tmp_path, f"anonymous = [{withheld}]\nspool_dir = '{{file}}'", tmp_path)
    status, shown, said = check("receiver", settings)
    assert status == 0
    assert ("that it sends mail to itself" in shown + said) is warned


def test_filter_that_changes_recipients_after_the_next_server_is_asked_is_named(
    tmp_path: Path,
) -> None:
    proxy = "ack = 'delivered'\nverify_recipients = true\nspool_dir = '{file}'\n"
    settings = write(tmp_path, proxy + "filter = ['mx:']", tmp_path / "spool")
    status, _, said = check("receiver", settings)
    assert status == 0
    assert "the next server is asked before mx: changes addresses or servers" in said
    settings = write(tmp_path, "verify_recipients = true", tmp_path / "spool")
    status, _, said = check("receiver", settings)
    assert status == 78
    assert "line 2: needs ack = delivered" in said


def test_a_file_of_accounts_that_admits_no_client_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("client plain x y\n")
    file.chmod(0o600)
    status, _, said = check("receiver", write(tmp_path, "server_auth = '{file}'", file))
    assert status == 0
    assert f"{file}: has no server line, so no client can send mail" in said
    file.write_text("server none 192.0.2.0/24 x\n")
    assert "no client can send mail" not in check("receiver", tmp_path / "relay.toml")[2]


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("receiver", "server_auth"),
        ("receiver", "server_tls_certificate"),
        ("forwarder", "client_auth"),
    ],
)
def test_the_start_names_the_setting_of_a_file_that_is_missing(
    service: str, setting: str, tmp_path: Path
) -> None:
    options = [
        f"--{setting.replace('_', '-')}={tmp_path / 'none'}",
        f"--spool-dir={tmp_path / 's'}",
    ]
    options += ["--forward-to=h:25"] if service == "forwarder" else ["--port=0"]
    ended = run_forked(f"emailrelay-{service}", *options)
    assert ended.returncode == 78
    assert f"{setting}: {tmp_path / 'none'}: " in ended.stderr
