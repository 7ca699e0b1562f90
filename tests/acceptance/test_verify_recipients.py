"""Clients of real processes hear the next server's answer at RCPT (--verify-recipients)."""

import os
import smtplib
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.acceptance.command import SYSTEM_PYTHON
from tests.acceptance.local_users import ENVIRONMENT, OTHERS, SERVICE, Ground
from tests.acceptance.postfix import Postfix, needs_postfix
from tests.acceptance.relay import HANG, Relay, Service, until

MAIL = b"Subject: x\r\nX-Test-Id: 1\r\n\r\ntext\r\n"


def receiver(relay: Relay) -> Service:
    return relay.receiver("--ack=delivered", "--verify-recipients").start()


@contextmanager
def client(port: int) -> Generator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", port, timeout=HANG) as peer:
        peer.ehlo()
        yield peer


def heard(port: int, recipient: str) -> str:
    with client(port) as peer:
        peer.mail("from@us.test")
        code, text = peer.rcpt(recipient)
    return f"{code} {text.decode()}"


def wait_for_550(port: int, recipient: str) -> None:
    """Ask until there is an answer: on a busy machine the first may take too long."""
    until(lambda: heard(port, recipient).startswith("550"), f"{recipient} is refused")


def test_one_bad_address_fails_no_other(relay: Relay) -> None:
    sink = relay.sink().start()
    relay.forwarder(sink.port, "--verify-recipients").start()
    ours = receiver(relay)
    wait_for_550(ours.port, "refused0@y.test")
    with client(ours.port) as peer:
        refused = peer.sendmail("from@us.test", ["refused@y.test", "good@y.test"], MAIL)
    assert refused == {"refused@y.test": (550, b"5.1.1 nobody of that name")}
    (arrival,) = sink.wait_for(1)
    assert arrival.recipients == ["good@y.test"]
    (told,) = ours.hear("rejected", to=["refused@y.test"])
    assert told["reply"] == "550 5.1.1 nobody of that name"
    relay.drained()


def test_kills_of_forwarders_leave_clients_with_250_until_another_answers(relay: Relay) -> None:
    sink = relay.sink().start()
    forwarder = relay.forwarder(sink.port, "--verify-recipients", "--workers=2").start()
    ours = receiver(relay)
    folder = relay.spool / ".recipients"
    assert len(list(folder.iterdir())) == 2
    # A pool of workers: either may get the question.
    for number in range(4):
        wait_for_550(ours.port, f"refused{number}@y.test")

    workers = forwarder.workers()
    forwarder.kill()
    until(lambda: not any(_lives(pid) for pid in workers), "the workers notice that")
    assert heard(ours.port, "refused@y.test").startswith("250")
    ours.hear("recipient_unchecked")

    forwarder.start()
    wait_for_550(ours.port, "refused@y.test")
    assert forwarder.stop() == 0
    assert list(folder.iterdir()) == []


@needs_postfix
def test_client_hears_postfix(relay: Relay) -> None:
    sink = relay.sink().start()
    access = "{refused@y.test = 550 5.7.1 Not here}, {later@y.test = 450 4.7.1 Try later}"
    settings = {"smtpd_recipient_restrictions": f"check_recipient_access inline:{{{access}}}"}
    postfix = Postfix(relay.directory / "smarthost", sink.port, settings)
    with ExitStack() as stack:
        postfix.start()
        stack.callback(postfix.stop)
        relay.forwarder(postfix.port, "--verify-recipients").start()
        ours = receiver(relay)
        assert heard(postfix.port, "refused@y.test").startswith("550")
        with client(ours.port) as peer:
            refused = peer.sendmail(
                "from@us.test", ["refused@y.test", "later@y.test", "good@y.test"], MAIL
            )
        (arrival,) = sink.wait_for(1)
    assert {address: code for address, (code, _) in refused.items()} == {
        "refused@y.test": 550,
        "later@y.test": 450,
    }
    assert (
        b"5.7.1 <refused@y.test>: Recipient address rejected: Not here"
        in refused["refused@y.test"][1]
    )
    assert arrival.recipients == ["good@y.test"]
    # The message went over the connection of the questions.
    assert postfix.log.count(": connect from localhost") == 2


CONNECT = """
import sys
from emailrelay.store.chooser import recipient_sockets as at
at(sys.argv[1]).connected()
"""
IMPOSTOR = """
import signal, sys
from emailrelay.store.chooser import recipient_sockets as at
with at(sys.argv[1]).listening(): print(flush=True); signal.pause()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs a Python for all users")
def test_only_the_services_and_their_group_reach_the_answers() -> None:
    ground = Ground(mode=0o3770)
    spool = ground.spool
    forwarder = ["emailrelay_forwarder", "--verify-recipients", "--forward-to=127.0.0.1:9"]
    words = [str(SYSTEM_PYTHON), "-P", "-m", *forwarder, f"--spool-dir={spool}"]
    with ExitStack() as stack:
        stack.callback(ground.clear_away)
        if ground.run("-c", "import pydantic_core, emailrelay").status != 0:
            pytest.skip("the system's Python is of another release than this one's packages")
        process = subprocess.Popen(words, cwd="/", env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        stack.callback(process.wait, HANG)
        stack.callback(process.terminate)
        folder = spool / ".recipients"
        until(lambda: folder.exists() and list(folder.glob("*[0-9a-f]")), "the forwarder listens")
        (own,) = folder.iterdir()
        assert own.lstat().st_uid == SERVICE

        assert ground.run("-c", CONNECT, spool, user=SERVICE).status == 0
        assert ground.member(CONNECT, spool).status == 0
        assert "PermissionError" in ground.run("-c", CONNECT, spool, user=OTHERS).err

        # In a sticky spool no member of the group can answer in the place of the forwarder.
        process.terminate()
        assert process.wait(HANG) == 0
        impostor = stack.enter_context(ground.start_member(IMPOSTOR, spool))
        stack.callback(impostor.kill)
        assert "belongs to user" in ground.run("-c", CONNECT, spool, user=SERVICE).err


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
