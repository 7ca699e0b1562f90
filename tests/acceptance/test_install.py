"""The pages' commands for root give the services' user its rights; run here on our own files."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.command import CODE, SYSTEM_PYTHON, others_can_run_it, recording_sink
from tests.acceptance.pages import blocks
from tests.acceptance.relay import HANG, ROOT, free_port
from tests.fakes.certificates import make_certificates

HOW_TO = ROOT / "docs" / "how-to"
SETUP = ROOT / "docs" / "setup.md"
SERVICES = ("receiver", "filterd", "forwarder")
MODULES = {
    **{f"emailrelay-{name}": f"emailrelay_{name}" for name in SERVICES},
    "emailrelay-config": "emailrelay.configure",
    "emailrelay-doctor": "emailrelay_forwarder.doctor",
    # A link sendmail would be outside this namespace.
    "emailrelay-setup": "emailrelay.setup --no-sendmail --bin-dir /opt/emailrelay/bin",
    "emailrelay-queue": "emailrelay.queue",
    "emailrelay-submit": "emailrelay.submit",
    "emailrelay-passwd": "emailrelay.secrets.passwd",
}
NEW_NAMESPACE = ("unshare", "--mount", "--propagation", "private")
ELSEWHERE = re.compile(r"^(?:python3 -m venv|/opt/emailrelay/bin/pip|systemctl) .*\n", re.MULTILINE)
"""Lines that take the network, or systemd."""
OWN_FILES = """set -e; umask 022
cp -a /etc {here}/etc; mount --bind {here}/etc /etc; userdel emailrelay 2>/dev/null || :
for place in /opt /usr/local /run /var/spool; do mount -t tmpfs -o mode=755 tmpfs $place; done
mkdir -p /opt/emailrelay/share /usr/local/bin /usr/local/sbin /run/systemd/system
cp -r {here}/bin /opt/emailrelay/bin; cp -r {root}/deploy /opt/emailrelay/share/emailrelay
printf '#!/bin/sh\\necho "$@" >> /run/asked; [ "$1" != --quiet ]\\n' > /usr/local/sbin/systemctl
chmod 755 /usr/local/sbin/systemctl
cp -r {here}/key/* {here}; cd {here}
"""
SETTINGS_FILE = "/etc/emailrelay/emailrelay.toml"
SETTINGS = """cat > /etc/emailrelay/emailrelay.toml <<'END'
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


SET_UP = typed(SETUP, "--dry-run")


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


def as_unit(service: str, option: str = "--check-config") -> str:
    """Give the line that runs a service as its unit would run it, with one option more."""
    unit = f"/etc/systemd/system/emailrelay-{service}.service"
    user, environment, command = (
        f"$(sed -n 's/^{key}=//p' {unit})" for key in ("User", "Environment", "ExecStart")
    )
    return f"runuser -u {user} -- env -i {environment} {command} {option}\n"


def test_units_user_can_use_what_the_set_up_page_makes(directory: Path) -> None:
    checks = typed(SETUP, "config check") + "".join(map(as_unit, SERVICES))
    spool = 'runuser -u emailrelay -- sh -c "touch /var/spool/emailrelay/x; ls /etc/emailrelay"\n'
    settings = typed(SETUP, "--smarthost") + f"echo port = {free_port()} >> {SETTINGS_FILE}\n"
    told = do(directory, SET_UP, settings, checks, spool, "cat /run/asked\n")
    assert told.count("the settings are good") == 4
    assert "\ndaemon-reload\n" in told


def test_pages_first_day_ends_with_a_delivered_message(directory: Path) -> None:
    sink = recording_sink(directory).start()
    try:
        settings = typed(SETUP, "--smarthost").replace("smtp.example.net:587", sink.address)
        checks = typed(SETUP, "config check").replace("check", "check forwarder")
        first = typed(SETUP, "It works")
        once, undo = as_unit("forwarder", "--once"), typed(SETUP, "--undo")
        told = do(directory, SET_UP, settings, checks, first, once, undo)
        (arrival,) = sink.wait_for(1)
    finally:
        sink.clear_away()
    assert arrival.recipients == ["you@example.net"]
    assert told.count("the settings are good") == 1
    assert "left alone: /etc/emailrelay: it holds settings or secrets" in told
    assert "left alone: /var/spool/emailrelay: it may hold mail" in told


def test_second_set_up_of_this_machine_changes_nothing(directory: Path) -> None:
    told = do(directory, SET_UP, "echo again\n", SET_UP)
    _, _, again = told.partition("again\n")
    assert again.count("Nothing to do.") == 2


def test_undo_leaves_no_trace_in_etc(directory: Path) -> None:
    saved = f"cp -a /etc {directory}/before\n"
    differ = (
        f"diff -r --no-dereference --exclude='*-' --exclude=ld.so.cache {directory}/before /etc "
        "&& echo same\n"
    )
    told = do(directory, saved, SET_UP, typed(SETUP, "--undo"), differ)
    assert told.endswith("same\n")


def test_units_user_can_read_the_keys_and_passwords_that_pages_store(directory: Path) -> None:
    keys = [
        text for text in blocks(HOW_TO / "clients-with-passwords.md", "toml") if "[[" not in text
    ]
    told = do(
        directory,
        SET_UP,
        typed(HOW_TO / "clients-with-passwords.md", "/etc/emailrelay"),
        typed(HOW_TO / "smarthost-login.md", "touch"),
        SETTINGS.format(
            keys='client_auth = "/etc/emailrelay/emailrelay.auth"\n'
            'forward_to = "smtp.example.net:587"\n'
            + "".join(keys).replace("port = 587", f"port = {free_port()}")
        ),
        "echo 'client plain alice@example.org my+20password' >> /etc/emailrelay/emailrelay.auth\n",
        as_unit("receiver"),
        as_unit("forwarder"),
    )
    assert told.count("the settings are good") == 2


@pytest.mark.parametrize("page", ["gmail", "microsoft-365", "routes", "ses"])
def test_a_stored_secret_is_for_the_units_user_only(directory: Path, page: str) -> None:
    told = do(
        directory,
        SET_UP,
        typed(HOW_TO / f"{page}.md", "install -m"),
        "for file in $(ls -d /etc/emailrelay/* | grep -v toml); do\n"
        "runuser -u emailrelay -- test -r $file\n"
        "if runuser -u nobody -- test -r $file; then exit 1; fi\n"
        "echo good $file\ndone\n",
    )
    assert "good /etc/emailrelay/" in told
