"""Mail clients that others wrote log in at the receiver, encrypted: msmtp, s-nail, smtplib."""

import email
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.relay import HANG, Relay, Service
from tests.fakes.certificates import Certificates, make_certificates

USER, PASSWORD = "alice", "open sesame"
TEXT = "From: s@x.test\nTo: r@y.test\nSubject: greetings\n\n.\n..\nFrom here\nno more\n"
LINES = [".", "..", "From here", "no more"]
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5"]


@pytest.fixture(name="files")
def make_files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path, "localhost")


def receiver(relay: Relay, files: Certificates, *, at_once: bool) -> Service:
    secrets = relay.directory / "secrets"
    secrets.touch(0o600)
    secrets.write_text(f"server plain {USER} {PASSWORD.replace(' ', '+20')}\n")
    tls = "--server-tls-connection" if at_once else "--server-tls"
    files_of = (f"--server-tls-certificate={files.server}", f"--server-auth={secrets}")
    return relay.receiver(tls, *files_of).start()


def run(command: list[str], directory: Path) -> None:
    # No settings and no mailbox of the user who runs the tests.
    environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, input=TEXT, capture_output=True, text=True, check=False, timeout=HANG,
        cwd=directory, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def msmtp(relay: Relay, files: Certificates, port: int, mechanism: str, *, at_once: bool) -> None:
    command = [
        "msmtp", "--host=localhost", f"--port={port}", "--domain=client.test", "--tls=on",
        f"--tls-starttls={'off' if at_once else 'on'}", f"--tls-trust-file={files.authority}",
        f"--auth={mechanism.lower()}", f"--user={USER}", f"--passwordeval=echo {PASSWORD}",
        "--from=s@x.test", "r@y.test",
    ]  # fmt: skip
    run(command, relay.directory)


def s_nail(relay: Relay, files: Certificates, port: int, mechanism: str, *, at_once: bool) -> None:
    scheme = "smtps" if at_once else "smtp"
    password = PASSWORD.replace(" ", "%20")
    settings = {
        "v15-compat": "yes",
        "mta": f"{scheme}://{USER}:{password}@localhost:{port}",
        "smtp-auth": mechanism.lower(),
        "tls-ca-file": str(files.authority),
        "tls-ca-no-defaults": "yes",
        "tls-verify": "strict",
        "hostname": "client.test",
    }
    if not at_once:
        settings["smtp-use-starttls"] = "yes"
    words = [word for name, value in settings.items() for word in ("-S", f"{name}={value}")]
    run(["s-nail", "-:/", *words, "-Sexpandaddr", "-t", "-r", "s@x.test"], relay.directory)


def smtp_lib(
    _relay: Relay, files: Certificates, port: int, mechanism: str, *, at_once: bool
) -> None:
    context = ssl.create_default_context(cafile=str(files.authority))
    if at_once:
        session: smtplib.SMTP = smtplib.SMTP_SSL("localhost", port, timeout=HANG, context=context)
    else:
        session = smtplib.SMTP("localhost", port, timeout=HANG)
    with session:
        if not at_once:
            session.starttls(context=context)
        session.ehlo()
        session.user, session.password = USER, PASSWORD
        method = getattr(session, f"auth_{mechanism.lower().replace('-', '_')}")
        session.auth(mechanism, method)
        session.sendmail("s@x.test", ["r@y.test"], TEXT)


@pytest.mark.parametrize("at_once", [False, True], ids=["STARTTLS", "implicit TLS"])
@pytest.mark.parametrize("client", [msmtp, s_nail, smtp_lib], ids=["msmtp", "s-nail", "smtplib"])
def test_each_mechanism_brings_the_message_in_as_it_was_written(
    relay: Relay,
    files: Certificates,
    client: Callable[..., None],
    at_once: bool,  # noqa: FBT001 - a row of the table
) -> None:
    program = client.__name__.replace("_", "-")
    if client is not smtp_lib and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    ours = receiver(relay, files, at_once=at_once)
    for mechanism in MECHANISMS:
        client(relay, files, ours.port, mechanism, at_once=at_once)
    logins = ours.hear("logged_in", times=len(MECHANISMS))
    assert [login["mechanism"] for login in logins] == MECHANISMS
    contents = [path.read_bytes() for path in sorted(relay.spool.glob("*.content"))]
    assert len(contents) == len(MECHANISMS)
    for content in contents:
        message = email.message_from_bytes(content)
        assert message["Subject"] == "greetings"
        payload = message.get_payload(decode=True)  # s-nail writes "=2E"
        assert isinstance(payload, bytes)
        assert payload.decode().splitlines() == LINES
        assert b" with ESMTPSA id " in content
