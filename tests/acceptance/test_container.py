"""The files of deploy/container: services without root, on a read-only root, secrets from files."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.acceptance.command import SYSTEM_PYTHON, others_can_run_it
from tests.acceptance.local_users import ENVIRONMENT
from tests.acceptance.relay import HANG, ROOT, Service, Sink, free_port, until

from emailrelay.config import SERVICES

CONTAINER = ROOT / "deploy" / "container"
ENTRYPOINT = CONTAINER / "entrypoint"
USER = 10_025
"""The user of the image."""
ISOLATED = """set -e
mount --bind "$SPOOL" "$SPOOL"
mount --bind "$RUNTIME" "$RUNTIME"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -o remount,bind,ro /
if touch "$SPOOL/../written" 2>/dev/null; then
    echo "the root file system is not read-only"; exit 1
fi
exec setpriv --reuid 10025 --regid 10025 --clear-groups --bounding-set=-all --inh-caps=-all \\
    --no-new-privs "$0" "$@"
"""


def enter(*words: str | Path, given: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a command through the entry point."""
    return subprocess.run(
        ["/bin/sh", ENTRYPOINT, *words],
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Give a secrets file that all users can read, as container runtimes mount it."""
    path = tmp_path / "client_auth"
    path.write_text("server plain alice open+20sesame\nclient plain alice open+20sesame\n")
    path.chmod(0o444)
    return path


@pytest.fixture
def private(tmp_path: Path) -> dict[str, str]:
    """Give the environment that names a directory for the copies."""
    directory = tmp_path / "private"
    directory.mkdir()
    return {"PRIVATE_DIR": str(directory)}


def test_secret_is_copied_for_the_service_only(secret: Path, private: dict[str, str]) -> None:
    script = 'stat -c %a "$EMAILRELAY_CLIENT_AUTH"; cat "$EMAILRELAY_CLIENT_AUTH"; env'
    done = enter("sh", "-c", script, given={"EMAILRELAY_CLIENT_AUTH_FILE": str(secret), **private})
    mode, first, second, *environment = done.stdout.splitlines()
    assert (mode, f"{first}\n{second}\n") == ("600", secret.read_text())
    names = {line.partition("=")[0] for line in environment}
    assert "EMAILRELAY_CLIENT_AUTH" in names
    assert "EMAILRELAY_CLIENT_AUTH_FILE" not in names
    assert "sesame" not in "".join(environment)


def test_certificate_can_be_two_files(tmp_path: Path, private: dict[str, str]) -> None:
    key, chain = tmp_path / "a key", tmp_path / "chain*"
    key.write_text("key")
    chain.write_text("chain")
    script = "IFS=,; cat $EMAILRELAY_SERVER_TLS_CERTIFICATE"
    given = {"EMAILRELAY_SERVER_TLS_CERTIFICATE_FILE": f"{key},{chain}", **private}
    assert enter("sh", "-c", script, given=given).stdout == "keychain"


@pytest.mark.parametrize(
    "given",
    [
        {"EMAILRELAY_SERVER_AUTH_FILE": "SECRET", "EMAILRELAY_SERVER_AUTH": "/etc/x"},
        {"EMAILRELAY_SERVER_AUTH_FILE": "/nowhere/secret"},
        {"EMAILRELAY_SERVER_AUTH_FILE": "SECRET", "PRIVATE_DIR": "/proc/nowhere"},
    ],
    ids=["both are given", "it does not exist", "no room for a copy"],
)
def test_secret_that_cannot_be_used_stops_the_start(
    given: dict[str, str], secret: Path, private: dict[str, str]
) -> None:
    filled = {name: value.replace("SECRET", str(secret)) for name, value in given.items()}
    done = enter("echo", "started", given=private | filled)
    assert (done.returncode, done.stdout) == (78, "")
    assert "emailrelay: EMAILRELAY_SERVER_AUTH" in done.stderr
    assert "sesame" not in done.stderr


def test_no_secret_goes_into_a_directory_of_another_user(
    secret: Path, private: dict[str, str]
) -> None:
    directory = Path(private["PRIVATE_DIR"])
    link = directory.with_name("link")
    link.symlink_to(directory)
    os.chown(directory, USER, USER)
    for place in (directory, link):
        given = {"EMAILRELAY_CLIENT_AUTH_FILE": str(secret), "PRIVATE_DIR": str(place)}
        assert enter("echo", "started", given=given).returncode == 78
    assert list(directory.iterdir()) == []


def test_without_secrets_the_command_is_run_as_it_is(private: dict[str, str]) -> None:
    done = enter("printf", "%s|", "a b", "*", given=private)
    assert (done.returncode, done.stdout) == (0, "a b|*|")
    assert enter(given=private).returncode == 78


def test_relay_takes_a_readable_secret_through_the_entry_point_only(
    secret: Path, private: dict[str, str]
) -> None:
    check = (sys.executable, "-m", "emailrelay_forwarder", "--check-config")
    settings = {"EMAILRELAY_FORWARD_TO": "127.0.0.1:25", **private}
    direct = enter(*check, given={"EMAILRELAY_CLIENT_AUTH": str(secret), **settings})
    assert direct.returncode == 78
    copied = enter(*check, given={"EMAILRELAY_CLIENT_AUTH_FILE": str(secret), **settings})
    assert copied.returncode == 0, copied.stderr


class Containers:
    """Services as the compose file runs them: another user, no rights, a read-only root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spool = directory / "spool"
        self.spool.mkdir()
        self.spool.chmod(0o3770)
        self.runtime = directory / "run"
        self.runtime.mkdir(mode=0o750)
        for volume in (self.spool, self.runtime):
            os.chown(volume, USER, USER)
        self.started: list[Service] = []

    def start(self, name: str, secret: Path, *options: str, port: int = 0) -> Service:
        environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        command = [
            *("env", "-i", *environment, "LANG=C.UTF-8", f"SPOOL={self.spool}"),
            *(f"RUNTIME={self.runtime}", f"EMAILRELAY_RUNTIME_DIR={self.runtime}"),
            f"EMAILRELAY_SPOOL_DIR={self.spool}",
            f"EMAILRELAY_SERVER_AUTH_FILE={secret}",
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", ISOLATED),
            *(str(ENTRYPOINT), str(SYSTEM_PYTHON), "-P", "-m", f"emailrelay_{name}", *options),
        ]
        service = Service(name, command, self.directory, port)
        self.started.append(service)
        return service.start()


@pytest.fixture
def containers() -> Iterator[Containers]:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        pytest.skip("only root can make mounts, with unshare and setpriv")
    if not others_can_run_it():
        pytest.skip("other users cannot reach this checkout")
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"],
        check=False,
        capture_output=True,
    )
    if tried.returncode:
        pytest.skip("the root file system cannot be made read-only here")
    directory = Path(tempfile.mkdtemp(prefix="containers-"))  # pytest's are closed to other users
    directory.chmod(0o711)
    containers = Containers(directory)
    yield containers
    for service in containers.started:
        service.clear_away()
    shutil.rmtree(directory)


def test_services_relay_without_root_on_a_read_only_root(
    containers: Containers, secret: Path
) -> None:
    sink = Sink("sink", containers.directory, free_port(), ()).start()
    port = free_port()
    secret = Path(shutil.copy(secret, containers.directory / "server_auth"))
    try:
        receiver = containers.start("receiver", secret, "--port", str(port), port=port)
        forwarder = containers.start("forwarder", secret, "--forward-to", sink.address)
        filterd = containers.start("filterd", secret)
        if find_spec("h11") is not None:  # else the extra metrics is missing
            answers = free_port()
            containers.start("monitor", secret, "--monitor-port", str(answers))
            until(lambda: well(answers) == {"receiver", "filterd", "forwarder"}, "all is well")
        for service in containers.started:
            status = Path(f"/proc/{service.pid}/status").read_text()
            assert re.search(r"^Uid:(\t10025){4}$", status, re.MULTILINE)
            assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
        sent = healthy(containers, port)
        assert sent.returncode == 0, sent.stderr
        submit: list[str | Path] = [
            SYSTEM_PYTHON,
            "-P",
            "-m",
            "emailrelay.submit",
            "-s",
            containers.spool,
            "b@x.test",
        ]
        subprocess.run(
            submit, input=b"Subject: s\n\nhi\n", check=True, timeout=HANG, env=ENVIRONMENT, cwd="/",
            user=USER, group=USER, extra_groups=[],
        )  # fmt: skip
        sink.wait_for(1)
        assert [service.stop() for service in (receiver, filterd, forwarder)] == [0, 0, 0]
        assert healthy(containers, port).returncode != 0
    finally:
        sink.clear_away()


def well(port: int) -> set[str]:
    """Give the services that the monitor knows; none while one of them is not well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=HANG) as page:
            return set(json.load(page)["services"])
    except urllib.error.HTTPError:
        return set()


def healthy(containers: Containers, port: int) -> "subprocess.CompletedProcess[str]":
    """Run the health check of a receiver's container."""
    commands = containers.directory / "bin"
    commands.mkdir(exist_ok=True)
    queue = commands / "emailrelay-queue"
    queue.write_text(f'#!/bin/sh\nexec {SYSTEM_PYTHON} -P -m emailrelay.queue "$@"\n')
    queue.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", CONTAINER / "healthcheck", "emailrelay-receiver"],
        env={
            **ENVIRONMENT,
            "PATH": f"{commands}:/usr/bin:/bin",
            "EMAILRELAY_PORT": str(port),
            "EMAILRELAY_SPOOL_DIR": str(containers.spool),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
        cwd="/",
    )


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", ["entrypoint", "healthcheck"])
def test_scripts_are_clean_posix_shell(script: str) -> None:
    assert os.access(CONTAINER / script, os.X_OK)
    subprocess.run(["shellcheck", "--shell=sh", CONTAINER / script], check=True, timeout=HANG)


def test_files_name_settings_that_exist_and_no_registry() -> None:
    known = {f"EMAILRELAY_{name.upper()}" for each in SERVICES for name in each.model_fields}
    for name in ("Containerfile", "compose.yaml"):
        text = (CONTAINER / name).read_text()
        used = set(re.findall(r"EMAILRELAY_[A-Z_]+", text))
        assert used
        assert {each.removesuffix("_FILE") for each in used} <= known, name
        images = re.findall(r"^(?:FROM|ARG BASE=| *image:) *(\S+)", text, re.MULTILINE)
        assert images
        assert not [image for image in images if "/" in image]


def test_image_is_built_from_everything_that_the_wheel_needs() -> None:
    copied = re.findall(
        r"^COPY (?!--)(.*) \S+$", (CONTAINER / "Containerfile").read_text(), re.MULTILINE
    )
    sources = {word for line in copied for word in line.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["shared-data"], project["project"]["readme"]}
    needed |= {*project["project"]["license-files"], "pyproject.toml"}
    missing = [need for need in needed if not any(Path(need).is_relative_to(s) for s in sources)]
    assert missing == []
