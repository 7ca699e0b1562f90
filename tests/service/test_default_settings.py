"""Every command reads the settings file of this host, if there is one and nothing else is named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from tests.acceptance.relay import free_port
from tests.service.submitting import MESSAGE, command
from tests.service.test_submit import Receiver

IN_OWN_ETC = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
SERVICES = ("emailrelay_receiver", "emailrelay_filterd", "emailrelay_forwarder")
"""Modules whose --check-config shows the settings."""


class Host:
    """A machine with a settings file in its own /etc."""

    def __init__(self, here: Path) -> None:
        self.spool = here / "mail"
        self.spool.mkdir(mode=0o770)
        self.etc = here / "etc"
        shutil.copytree("/etc", self.etc, symlinks=True, ignore_dangling_symlinks=True)
        self.settings = self.etc / "emailrelay" / "emailrelay.toml"
        self.settings.parent.mkdir(exist_ok=True)
        self.write()

    def write(self, more: str = "") -> None:
        text = f'spool_dir = "{self.spool}"\nforward_to = "127.0.0.1:9"\ndomain = "host.test"\n'
        self.settings.write_text(text + more)

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        script = f'mount --bind {self.etc} /etc && exec "$@"'
        return subprocess.run(
            [*IN_OWN_ETC, script, "sh", *words],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": os.environ["PATH"]},
        )

    def python(self, module: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", module, *words, text=text)

    def nobody(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run emailrelay-submit as a user without rights."""
        return self.run(*command("emailrelay-submit", 65534), *words, text=text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can give a command another /etc, here with unshare")
    tried = [*IN_OWN_ETC, "mount --bind /etc /etc"]
    if subprocess.run(tried, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    return Host(tmp_path)


@pytest.mark.parametrize("module", SERVICES)
def test_services_read_the_file(host: Host, module: str) -> None:
    done = host.python(module, "--check-config")

    assert done.returncode == 0, done.stderr
    place = "(spool_dir in /etc/emailrelay/emailrelay.toml, line 1)"
    assert f"spool_dir = {host.spool}  {place}" in done.stdout


def test_commands_use_the_spool_of_the_file(host: Host) -> None:
    sent = host.python("emailrelay.submit", "--verbose", "bob@x.test", text=MESSAGE)

    assert sent.returncode == 0, sent.stderr
    (envelope,) = host.spool.glob("*.envelope")
    assert "X-MailRelay-From: root@host.test" in envelope.read_text()
    queue = host.python("emailrelay.queue", "list")
    assert "bob@x.test" in queue.stdout
    assert "bob@x.test" in host.run(*command("mailq", None)).stdout
    assert host.python("emailrelay.notify", "--relay").returncode == 0
    assert host.python("emailrelay.oauth", "status").stdout == (
        "no accounts: the settings have no [[account]] table\n"
    )
    assert "127.0.0.1:9" in host.python("emailrelay.queue", "route", "a@x", "b@y").stdout
    assert "127.0.0.1:9" in host.python("emailrelay_forwarder.doctor").stdout


def test_the_historical_command_does_not_read_the_file(host: Host) -> None:
    host.write("port = nonsense\n")

    done = host.python("emailrelay.classic", "--as-client", "127.0.0.1:9", "-s", str(host.spool))

    assert done.returncode == 0, done.stderr
    assert "nonsense" not in done.stderr


def test_a_named_file_goes_before_it(host: Host, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    (tmp_path / "other").mkdir()
    other.write_text(f'spool_dir = "{tmp_path}/other"\n')

    sent = host.python("emailrelay.submit", "--config", str(other), "bob@x.test", text=MESSAGE)

    assert sent.returncode == 0, sent.stderr
    assert len(list((tmp_path / "other").glob("*.envelope"))) == 1


def test_a_mistake_in_the_file_is_told_alike_by_commands(host: Host) -> None:
    host.write("port = nonsense\n")
    mistake = "/etc/emailrelay/emailrelay.toml, line 4, port: is not TOML: invalid value"

    for module, words, status in (
        ("emailrelay_filterd", [], 78),
        ("emailrelay.queue", ["list"], 78),
        ("emailrelay.notify", ["--relay"], 78),
        ("emailrelay.oauth", ["status"], 78),
        ("emailrelay.submit", ["bob@x.test"], 75),
    ):
        done = host.python(module, *words, text=MESSAGE)
        assert mistake in done.stderr
        assert done.returncode == status, module


def test_a_user_who_cannot_read_the_file_sends_through_the_receiver(host: Host) -> None:
    host.settings.parent.chmod(0o700)
    host.spool.chmod(0o777)  # The default spool may be open like this one.
    receiver, port = Receiver(), free_port()
    controller = Controller(receiver, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        done = host.nobody("--port", str(port), "bob@x.test", text=MESSAGE)
    finally:
        controller.stop()

    assert (done.returncode, done.stderr) == (0, "")
    (envelope,) = receiver.received
    assert envelope.rcpt_tos == ["bob@x.test"]
    assert list(host.spool.iterdir()) == []
    lost = host.nobody("--port", "1", "bob@x.test", text=MESSAGE)
    assert lost.returncode == 75
    told = "/etc/emailrelay/emailrelay.toml: cannot be read: Permission denied; become root"
    assert told in lost.stderr
    assert host.nobody("-bp").returncode == 77
