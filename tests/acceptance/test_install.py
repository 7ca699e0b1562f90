"""The pages' commands for root give the services' user its rights; run here on our own files."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.command import CODE, SYSTEM_PYTHON, others_can_run_it
from tests.acceptance.pages import blocks
from tests.acceptance.relay import HANG, ROOT
from tests.fakes.certificates import make_certificates

HOW_TO = ROOT / "docs" / "how-to"
UNITS = ROOT / "deploy" / "systemd"
SERVICES = ("receiver", "filterd", "forwarder")
MODULES = {
    **{f"emailrelay-{name}": f"emailrelay_{name}" for name in SERVICES},
    "emailrelay-doctor": "emailrelay_forwarder.doctor",
    "emailrelay-passwd": "emailrelay.secrets.passwd",
}
NEW_NAMESPACE = ("unshare", "--mount", "--propagation", "private")
ELSEWHERE = re.compile(r"^(?:python3 -m venv|/opt/emailrelay/bin/pip|systemctl) .*\n", re.MULTILINE)
"""Lines that take the network, or systemd."""
OWN_FILES = """set -e; umask 022
cp -a /etc {here}/etc; mount --bind {here}/etc /etc; userdel emailrelay 2>/dev/null || :
for place in /opt /usr/local/bin /var/spool; do mount -t tmpfs -o mode=755 tmpfs $place; done
install -d /opt/emailrelay /etc/systemd/system; cp -r {here}/bin /opt/emailrelay/bin
cp -r {root}/deploy {here}/key/* {here}; cd {here}
"""
SETTINGS = """cat > /etc/emailrelay.toml <<'END'
spool_dir = "/var/spool/emailrelay"
{keys}
END
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path) -> Path:
    """Give a directory with commands that every user can run, a key and a certificate."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can install the product, here with unshare")
    if not others_can_run_it():
        pytest.skip("other users cannot reach this checkout")
    tried = subprocess.run(
        [*NEW_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/opt"], check=False, capture_output=True
    )
    if tried.returncode:
        pytest.skip("nothing can be mounted here")
    path = os.pathsep.join(map(str, CODE))
    (tmp_path / "bin").mkdir()
    for name, module in MODULES.items():
        program = tmp_path / "bin" / name
        call = f'PYTHONPATH={shlex.quote(path)} exec {SYSTEM_PYTHON} -m {module} "$@"'
        program.write_text(f"#!/bin/sh\n{call}\n")
        program.chmod(0o755)
    receiver = str(tmp_path / "bin" / "emailrelay-receiver")
    if subprocess.run([receiver, "--version"], check=False, capture_output=True).returncode:
        pytest.skip("the system's Python is of another release than this one's packages")
    (tmp_path / "key").mkdir()
    pem = make_certificates(tmp_path / "key").server.read_bytes()
    for name in ("relay.key", "relay-chain.pem", "office.key", "office.pem", "key.json"):
        (tmp_path / "key" / name).write_bytes(pem)
    return tmp_path


def typed(page: Path, word: str = "") -> str:
    """Give the lines with this word in a page's blocks."""
    found = [text for text in blocks(page, "sh") if word in text]
    assert found, f"{page}: no block with {word!r}"
    return ELSEWHERE.sub("", "".join(found))


def do(directory: Path, *lines: str) -> str:
    """Do all that in a mount namespace: the machine's files stay as they are."""
    script = OWN_FILES.format(here=directory, root=ROOT) + "".join(lines)
    done = subprocess.run(
        [*NEW_NAMESPACE, "sh", "-c", f"exec 2>&1\n{script}"],
        input="open sesame\nopen sesame\n",
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=HANG,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def as_unit(service: str) -> str:
    """Give the line that checks the settings as the unit would read them."""
    unit = (UNITS / f"emailrelay-{service}.service").read_text()
    values = dict(re.findall(r"^(User|ExecStart)=(.*)$", unit, re.MULTILINE))
    environment = " ".join(re.findall(r"^Environment=(.*)$", unit, re.MULTILINE))
    command = f"env -i {environment} {values['ExecStart']} --check-config"
    return f"runuser -u {values['User']} -- {command}\n"


def test_the_units_user_can_use_what_install_and_the_systemd_page_make(directory: Path) -> None:
    settings = """sed -i 's/^# forward_to = .*/forward_to = "smtp.example.net:25"/' /etc/emailrelay.toml\n"""
    install = typed(ROOT / "README.md", "useradd")
    systemd = typed(HOW_TO / "systemd.md", "install ") + settings
    checks = typed(HOW_TO / "systemd.md", "--check-config") + "".join(map(as_unit, SERVICES))
    spool = 'runuser -u emailrelay -- sh -c "touch /var/spool/emailrelay/x; ls /etc/emailrelay"\n'
    told = do(directory, install, systemd, checks, spool)
    assert told.count("the settings are good") == 5


def test_the_units_user_can_read_the_keys_and_passwords_that_pages_store(directory: Path) -> None:
    keys = [
        text for text in blocks(HOW_TO / "clients-with-passwords.md", "toml") if "[[" not in text
    ]
    told = do(
        directory,
        typed(ROOT / "README.md", "useradd"),
        typed(HOW_TO / "clients-with-passwords.md", "/etc/emailrelay"),
        typed(HOW_TO / "smarthost-login.md", "touch"),
        SETTINGS.format(
            keys='client_auth = "/etc/emailrelay.auth"\n'
            'forward_to = "smtp.example.net:587"\n' + "".join(keys)
        ),
        "echo 'client plain alice@example.org my+20password' >> /etc/emailrelay.auth\n",
        as_unit("receiver"),
        as_unit("forwarder"),
    )
    assert told.count("the settings are good") == 2


@pytest.mark.parametrize("page", ["gmail", "microsoft-365", "routes", "ses"])
def test_a_stored_secret_is_for_the_units_user_only(directory: Path, page: str) -> None:
    told = do(
        directory,
        typed(ROOT / "README.md", "useradd"),
        typed(HOW_TO / f"{page}.md", "install -m"),
        "for file in /etc/emailrelay/*; do\n"
        "runuser -u emailrelay -- test -r $file\n"
        "if runuser -u nobody -- test -r $file; then exit 1; fi\n"
        "echo good $file\ndone\n",
    )
    assert "good /etc/emailrelay/" in told
    assert "*" not in told
