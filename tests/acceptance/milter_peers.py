"""The milters of Debian, each with a configuration of its own."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.acceptance.postfix import let_through
from tests.acceptance.relay import HANG, ROOT, Process, until

_PATHS = "/usr/sbin:/usr/bin"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The file that all virus scanners find (eicar.org); it is harmless."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test without these programs."""
    missing = [name for name in programs if shutil.which(name, path=_PATHS) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def _libmilter() -> bool:
    found = subprocess.run(
        ["/usr/bin/python3", "-c", "import Milter"], capture_output=True, check=False
    )
    return found.returncode == 0


needs_libmilter = pytest.mark.skipif(not _libmilter(), reason="python3-milter is not installed")


@dataclass
class RunningMilter:
    """A milter, and the socket that it listens on."""

    process: Process
    socket: Path

    def start(self) -> None:
        let_through(self.socket.parent)
        self.process.spawn()
        until(self.socket.exists, f"{self.process.name} listens")
        self.socket.chmod(0o777)

    def end(self) -> None:
        self.process.clear_away()


def scripted(folder: Path) -> RunningMilter:
    """Give a milter on Sendmail's libmilter that does what each message says."""
    socket = folder / "scripted"
    script = ROOT / "tests" / "fakes" / "libmilter_peer.py"
    return RunningMilter(Process("scripted", ["/usr/bin/python3", script, socket], folder), socket)


def opendkim(folder: Path, key: Path) -> RunningMilter:
    """Give one that signs mail from x.test with this key, as selector ``sel``."""
    socket, config = folder / "opendkim", folder / "opendkim.conf"
    config.write_text(
        f"Syslog no\nBackground no\nMode s\nDomain x.test\nSelector sel\nKeyFile {key}\n"
        f"RequireSafeKeys no\nSocket local:{socket}\nCanonicalization relaxed/relaxed\n"
        f"PidFile {folder}/opendkim.pid\n"
    )
    command: list[str | Path] = ["/usr/sbin/opendkim", "-f", "-x", config]
    return RunningMilter(Process("opendkim", command, folder), socket)


def clamav(folder: Path) -> tuple[Process, RunningMilter]:
    """Give clamd, which knows one signature, and its milter, which rejects what it finds."""
    database = folder / "signatures"
    database.mkdir()
    (database / "test.ndb").write_text(f"Eicar-Test:0:*:{EICAR.hex()}\n")
    scanner, socket = folder / "clamd", folder / "clamav-milter"
    daemon = folder / "clamd.conf"
    daemon.write_text(
        f"LocalSocket {scanner}\nDatabaseDirectory {database}\nForeground yes\nMaxThreads 2\n"
    )
    config = folder / "clamav-milter.conf"
    config.write_text(
        f"MilterSocket {socket}\nClamdSocket unix:{scanner}\nForeground yes\nOnInfected Reject\n"
        "RejectMsg virus found: %v\nAddHeader Add\n"
    )
    clamd = Process("clamd", ["/usr/sbin/clamd", "-c", daemon], folder)
    milter = Process("clamav-milter", ["/usr/sbin/clamav-milter", "-c", config], folder)
    return clamd, RunningMilter(milter, socket)


def rspamd(folder: Path) -> RunningMilter:
    """Give one without rules of its own: it knows the test message of spam filters (GTUBE)."""
    socket, config, domains = folder / "rspamd", folder / "rspamd.conf", folder / "domains"
    domains.write_text("test\n")  # the list that comes with it takes a minute to compile
    config.write_text(
        f'options {{ pidfile = "{folder}/rspamd.pid"; tempdir = "{folder}"; filters = "";\n'
        f'url_tld = "{domains}"; gtube_patterns = "all"; dns {{ nameserver = ["127.0.0.1:9"]; }}\n'
        f'control_socket = "{folder}/control mode=0600"; }}\n'
        'logging { type = "console"; level = "warning"; }\n'
        f'worker "rspamd_proxy" {{ bind_socket = "{socket} mode=0666"; milter = yes; count = 1;\n'
        'timeout = 60s; upstream "local" { default = yes; self_scan = yes; } }\n'
        "actions { reject = 15; add_header = 6; }\n"
        'group "none" { symbol "NONE" { weight = 1; } }\n'
    )
    command: list[str | Path] = ["/usr/bin/rspamd", "-f", "-i", "-c", config]
    return RunningMilter(Process("rspamd", command, folder), socket)


def spamass(folder: Path, spamd: str) -> RunningMilter:
    """Give SpamAssassin's milter, which asks a spamd at ``host:port``."""
    socket = folder / "spamass"
    host, _, port = spamd.partition(":")
    command: list[str | Path] = [
        "/usr/sbin/spamass-milter",
        "-p",
        socket,
        "--",
        "-d",
        host,
        "-p",
        port,
    ]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return RunningMilter(Process("spamass-milter", command, folder, env=env), socket)


def make_key(folder: Path) -> tuple[Path, str]:
    """Make an RSA key; return its file, and the public key as DNS has it."""
    key = folder / "dkim.key"
    subprocess.run(
        ["openssl", "genrsa", "-traditional", "-out", key, "2048"],
        check=True, capture_output=True, timeout=HANG,
    )  # fmt: skip
    key.chmod(0o600)
    public = subprocess.run(
        ["openssl", "rsa", "-in", key, "-pubout", "-outform", "PEM"],
        check=True, capture_output=True, text=True, timeout=HANG,
    ).stdout  # fmt: skip
    return key, "".join(public.splitlines()[1:-1])


def dkim_result(message: bytes, public: str) -> str:
    """Give the verdict of Mail::DKIM, an independent verifier, with this key in DNS."""
    program = (
        "use Mail::DKIM::Verifier; use Net::DNS; no warnings;"
        '*Mail::DKIM::DNS::query = sub { return Net::DNS::RR->new("$_[0] 60 IN TXT \\"'
        'v=DKIM1; k=rsa; p=" . $ENV{KEY} . "\\"") };'
        "my $v = Mail::DKIM::Verifier->new(); local $/; $v->PRINT(<STDIN>); $v->CLOSE;"
        "print $v->result_detail;"
    )
    done = subprocess.run(
        ["perl", "-e", program], input=message, capture_output=True, check=False,
        timeout=HANG, env={"KEY": public, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return (done.stdout + done.stderr).decode()
