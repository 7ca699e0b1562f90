"""Postfix hands mail to us and takes it from us: encrypted, with a password, and octet for octet."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.postfix import PASSWORD, USER, Postfix, Users, needs_postfix
from tests.acceptance.relay import Relay, Service
from tests.acceptance.source import Load, assert_each_arrived_once
from tests.fakes.certificates import Certificates, make_certificates

MESSAGES = 40

pytestmark = needs_postfix


@pytest.fixture(name="files")
def make_files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path, "localhost")


@pytest.fixture(name="running")
def make_running() -> Iterator[ExitStack]:
    """The processes to stop at the end."""
    with ExitStack() as stack:
        yield stack


def start(running: ExitStack, postfix: Postfix) -> Postfix:
    postfix.start()
    running.callback(postfix.stop)
    return postfix


def secrets(folder: Path, side: str, password: str = PASSWORD) -> Path:
    path = folder / f"{side}-secrets"
    path.touch(0o600)
    path.write_text(f"{side} plain {USER} {password.replace(' ', '+20')}\n")
    return path


def receiver(relay: Relay, files: Certificates, *, at_once: bool) -> Service:
    return relay.receiver(
        "--server-tls-connection" if at_once else "--server-tls",
        f"--server-tls-certificate={files.server}",
        f"--server-auth={secrets(relay.directory, 'server')}",
    ).start()


def as_client(
    relay: Relay, files: Certificates, port: int, mechanism: str, *, at_once: bool
) -> Postfix:
    """Give a Postfix that passes all mail on to us."""
    passwords = relay.directory / "passwords"
    passwords.write_text(f"[127.0.0.1]:{port} {USER}:{PASSWORD}\n")
    settings = {
        "smtp_tls_security_level": "verify",
        "smtp_tls_verify_cert_match": "localhost",
        "smtp_tls_CAfile": str(files.authority),
        "smtp_tls_wrappermode": "yes" if at_once else "no",
        "smtp_tls_loglevel": "1",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": f"texthash:{passwords}",
        "smtp_sasl_security_options": "noanonymous",
        "smtp_sasl_mechanism_filter": mechanism.lower(),
    }
    return Postfix(relay.directory / "client", port, settings)


def as_smarthost(relay: Relay, files: Certificates, relay_to: int, mechanism: str) -> Postfix:
    """Give a Postfix that accepts mail only from clients that encrypt and log in."""
    users = Users(relay.directory / "dovecot", mechanism)
    relay.processes.append(users)
    users.start()
    settings = {
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_chain_files": str(files.server),
        "smtpd_tls_auth_only": "yes",
        **users.settings,
    }
    return Postfix(relay.directory / "smarthost", relay_to, settings)


def forwarder(relay: Relay, files: Certificates, port: int, *more: str, password: str) -> Service:
    return relay.forwarder(
        port,
        f"--client-auth={secrets(relay.directory, 'client', password)}",
        f"--client-tls-verify={files.authority}",
        *more,
    ).start()


@pytest.mark.parametrize(
    ("mechanism", "at_once"), [("PLAIN", False), ("LOGIN", True), ("CRAM-MD5", False)]
)
def test_mail_passes_from_postfix_through_us_to_postfix(
    relay: Relay,
    files: Certificates,
    running: ExitStack,
    mechanism: str,
    at_once: bool,  # noqa: FBT001 - a row of the table
) -> None:
    sink = relay.sink().start()
    smarthost = start(running, as_smarthost(relay, files, sink.port, mechanism))
    ours = receiver(relay, files, at_once=at_once)
    client = start(running, as_client(relay, files, ours.port, mechanism, at_once=at_once))
    port, options = smarthost.port, list[str]()
    if at_once:
        port, options = smarthost.tls_port, ["--client-tls-connection"]
    sender = forwarder(relay, files, port, *options, password=PASSWORD)

    acknowledged = Load(client.port, MESSAGES).run()

    assert_each_arrived_once(acknowledged, sink.wait_for(len(acknowledged)))
    relay.drained()
    assert {login["mechanism"] for login in ours.events("logged_in")} == {mechanism}
    assert f"sasl_method={mechanism}, sasl_username={USER}" in smarthost.log
    assert "Verified TLS connection established to 127.0.0.1" in client.log
    assert not sender.events("deferred")
    assert sorted({h["event"] for h in ours.happenings}) == [
        "listening", "logged_in", "received", "started",
    ]  # fmt: skip


def test_a_wrong_password_at_postfix_makes_mail_wait(
    relay: Relay, files: Certificates, running: ExitStack
) -> None:
    sink = relay.sink().start()
    smarthost = start(running, as_smarthost(relay, files, sink.port, "PLAIN LOGIN"))
    ours = relay.receiver().start()
    acknowledged = Load(ours.port, 3).run()
    sender = forwarder(relay, files, smarthost.port, password="wrong")  # noqa: S106 - of nobody

    (told,) = sender.hear("sign_in_refused")
    assert "535 5.7.8" in told["reason"]
    sender.hear("deferred")
    assert not sender.events("failed")
    # The file is read again, and the waiting mail goes.
    secrets(relay.directory, "client")

    assert_each_arrived_once(acknowledged, sink.wait_for(len(acknowledged)))
