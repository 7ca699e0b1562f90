"""A Postfix in a directory of its own, as a client of ours and as our smarthost."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.acceptance.relay import HANG, Process, free_port, until


def _lack() -> str:
    """Say why Postfix cannot be run here, or nothing."""
    if os.geteuid() != 0:
        return "only root can start Postfix and Dovecot"
    if not all(shutil.which(name, path="/usr/sbin") for name in ("postfix", "dovecot")):
        return "Postfix or Dovecot is not installed"
    plain = "sasl2/libplain.so"
    if not [*Path("/usr").glob(f"lib*/{plain}"), *Path("/usr").glob(f"lib*/*/{plain}")]:
        return "Postfix cannot log in: libsasl2-modules is not installed"
    return ""


needs_postfix = pytest.mark.skipif(bool(_lack()), reason=_lack())
USER, PASSWORD = "alice", "open sesame"

_MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test
mydestination =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtp_host_lookup = native
relayhost = [127.0.0.1]:{relay_to}
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
minimal_backoff_time = 1s
queue_run_delay = 1s
# Content passes as it is, long lines and all.
disable_mime_output_conversion = yes
line_length_limit = 2000000
smtp_line_length_limit = 0
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_DOVECOT = """
base_dir = {base}
state_dir = {base}
log_path = {home}/dovecot.log
protocols =
listen = 127.0.0.1
ssl = no
auth_mechanisms = {mechanisms}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {home}/users
}}
service auth {{
  unix_listener {base}/auth {{
    mode = 0666
  }}
}}
"""


@dataclass
class Postfix:
    """A Postfix in its own directory; all other settings come from the test."""

    home: Path
    relay_to: int
    """The next server."""
    settings: Mapping[str, str]
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    """The port with encryption from the first octet."""

    @property
    def log(self) -> str:
        path = self.home / "maillog"
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        for name in ("conf", "queue", "data"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        let_through(self.home)
        shutil.chown(self.home / "data", "postfix")
        own = "".join(f"{name} = {value}\n" for name, value in self.settings.items())
        main = _MAIN.format(home=self.home, relay_to=self.relay_to)
        (self.home / "conf" / "main.cf").write_text(main + own)
        master = _MASTER.format(port=self.port, tls_port=self.tls_port)
        (self.home / "conf" / "master.cf").write_text(master)
        self.command("start")

    def stop(self) -> None:
        self.command("stop")

    def command(self, word: str) -> None:
        conf = self.home / "conf"
        command = ["/usr/sbin/postfix", "-c", str(conf), word]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
        assert done.returncode == 0, done.stderr


class Users(Process):
    """Dovecot, which Postfix asks for passwords."""

    def __init__(self, home: Path, mechanisms: str) -> None:
        home.mkdir()
        (home / "users").write_text(f"{USER}:{PASSWORD}\n")
        # A directory of its own: the path of a socket has 107 octets at most (unix(7)).
        self._base = Path(tempfile.mkdtemp(prefix="dovecot-"))
        config = home / "dovecot.conf"
        words = {"home": home, "base": self._base, "mechanisms": mechanisms.lower()}
        config.write_text(_DOVECOT.format(**words))
        super().__init__("dovecot", ["/usr/sbin/dovecot", "-F", "-c", config], home)
        self._socket = self._base / "auth"

    def start(self) -> None:
        let_through(self._base)
        self.spawn()
        until(self._socket.exists, "Dovecot answers")

    def clear_away(self) -> None:
        super().clear_away()
        shutil.rmtree(self._base)

    @property
    def settings(self) -> dict[str, str]:
        """Give the Postfix settings that make it use this verifier."""
        return {
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(self._socket),
            "smtpd_sasl_security_options": "noanonymous",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        }


def let_through(folder: Path) -> None:
    """Let processes pass that have given up root's rights."""
    for above in (folder, *folder.parents):
        if above.stat().st_mode & 0o055 != 0o055:
            above.chmod(above.stat().st_mode | 0o055)
