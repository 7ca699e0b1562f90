"""The administration port of the legacy command: the rights of users, and its answers."""

import os
import signal
import socket
from pathlib import Path

import pytest
from tests.acceptance.command import Command, ask, connect_as
from tests.acceptance.relay import Sink, free_port, until

NOBODY = 65534


def test_administrators_see_and_move_the_queue(command: Command, sink: Sink) -> None:
    port = free_port()
    daemon = command.daemon("--as-server", "--forward-to", sink.address, "--admin", str(port))
    assert ask(port, "flush", "list", "failures") == [
        "error: no messages to send",
        "<none>",
        "<none>",
    ]
    daemon.submit()
    (name,) = {entry.rpartition(".")[0] for entry in command.waiting()}
    assert ask(port, "LIST", "flush", "list") == [name, "OK", "<none>"]
    assert len(sink.arrivals()) == 1
    assert ask(port, "pid", "terminate", "nonsense")[0] == str(daemon.pid)
    assert daemon.alive


def test_a_flush_tells_why_it_failed(command: Command) -> None:
    port, nobody = free_port(), free_port()
    daemon = command.daemon(
        "--as-server", "--forward-to", f"127.0.0.1:{nobody}", "--admin", str(port)
    )
    daemon.submit()
    (answer,) = ask(port, "flush")
    assert answer.startswith("error: ")
    assert str(nobody) in answer


def test_failures_are_listed_with_their_reason_and_tried_again(
    command: Command, tmp_path: Path
) -> None:
    refusing = Sink("refusing", tmp_path, free_port(), ["--refuse", "550 5.1.1 nobody here"])
    refusing.start()
    try:
        port = free_port()
        daemon = command.daemon(
            "--as-server", "--forward-to", refusing.address, "--admin", str(port)
        )
        daemon.submit()
        flushed, failures, again, listed = ask(port, "flush", "failures", "unfail-all", "list")
    finally:
        refusing.clear_away()
    assert flushed.startswith("error: ")
    assert "nobody here" in failures
    assert again == "OK"
    assert listed.startswith("emailrelay.")


def test_taking_mail_in_can_be_switched(command: Command) -> None:
    port = free_port()
    daemon = command.daemon("--as-server", "--admin", str(port))
    assert ask(port, "smtp disable") == ["OK"]
    with pytest.raises(ConnectionRefusedError):
        daemon.submit()
    assert ask(port, "smtp enable") == ["OK"]
    daemon.submit()


def test_terminate_needs_its_option_and_removes_the_pid_file(command: Command) -> None:
    port = free_port()
    daemon = command.daemon("--as-server", "--admin", str(port), "--admin-terminate")
    assert ask(port, "terminate")[0].startswith("OK")
    until(lambda: not daemon.alive, "it ends")
    assert not daemon.pid_file.exists()


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST /x HTTP/1.0", "Host: x", "x" * 100_000])
def test_a_browser_is_sent_away_before_it_says_more(command: Command, line: str) -> None:
    port = free_port()
    daemon = command.daemon("--as-server", "--admin", str(port), "--admin-terminate")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(f"{line}\r\nterminate\r\n".encode())
            while connection.recv(4096):
                pass
        except ConnectionError:
            pass
    assert ask(port, "pid") == [str(daemon.pid)]


def test_there_is_no_greeting_and_a_prompt_behind_each_answer(command: Command) -> None:
    port = free_port()
    daemon = command.daemon("--as-server", "--admin", str(port))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(b"PID\r\n")
        # Octet for octet: a prompt at the start would come in front.
        for expected in (b"%d\r\nE-MailRelay> " % daemon.pid, b"E-MailRelay> "):
            assert answers.read(len(expected)) == expected
            connection.sendall(b"\r\n")


def test_idle_administrators_are_bounded(command: Command) -> None:
    port = free_port()
    command.daemon("--as-server", "--admin", str(port))
    connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(40)]
    served = [_answered(connection) for connection in connections]
    for connection in connections:
        connection.close()
    assert served.count(True) == 20
    assert served.count(False) == 20


def _answered(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"\n")
        return bool(connection.recv(20))
    except ConnectionError:
        return False


def test_an_entry_with_another_programs_name_delays_no_command(command: Command) -> None:
    port = free_port()
    daemon = command.daemon("--as-server", "--admin", str(port))
    daemon.submit()
    (ours,) = {entry.rpartition(".")[0] for entry in command.waiting()}
    for suffix in ("content", "envelope"):
        theirs = command.spool / f"emailrelay.1.2.x.{suffix}"
        theirs.write_bytes((command.spool / f"{ours}.{suffix}").read_bytes())
    (listed, pid) = ask(port, "list", "pid")
    assert ours in listed.splitlines()
    assert pid == str(daemon.pid)


def test_flushes_come_one_after_the_other(command: Command) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        daemon = command.daemon("--as-server", "--forward-to", target, "--admin", str(port))
        daemon.submit()
        flushing = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(15)]
        for connection in flushing:
            connection.sendall(b"flush\r\n")
        accepted, _ = silent.accept()
        # The daemon has read all of them when it answers a later one.
        assert ask(port, "pid") == [str(daemon.pid)]
        forwarders = [
            child
            for child in daemon.children()
            if "emailrelay_forwarder" in Path(f"/proc/{child}/cmdline").read_text()
        ]
        assert len(forwarders) == 1
        accepted.close()
        for connection in flushing:
            connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as another user")
class TestStrangers:
    """Other users of this machine, on the administrators' port."""

    def test_a_stranger_can_look_and_do_nothing_else(self, command: Command) -> None:
        port = free_port()
        arguments = ("--forward-to", "127.0.0.1:9", "--admin", str(port), "--admin-terminate")
        daemon = command.daemon("--as-server", *arguments)
        daemon.submit()
        before = command.waiting()
        looks = ("help", "list", "status", "pid")
        acts = ("flush", "forward", "failures", "unfail-all", "smtp disable", "terminate")
        for answer in ask(port, *looks, user=NOBODY):
            assert not answer.startswith("error: ")
        for answer in ask(port, *acts, user=NOBODY):
            assert "for root, user root and members of group root only" in answer
        assert daemon.alive
        assert command.waiting() == before
        daemon.submit()

    def test_a_stranger_who_disconnects_at_once_is_not_taken_for_root(
        self, command: Command
    ) -> None:
        port = free_port()
        daemon = command.daemon("--as-server", "--admin", str(port), "--admin-terminate")
        daemon.send(signal.SIGSTOP)
        with connect_as(port, NOBODY) as connection:
            connection.sendall(b"smtp disable\r\nterminate\r\n")
        daemon.send(signal.SIGCONT)
        assert ask(port, "pid") == [str(daemon.pid)]
        daemon.submit()

    def test_strangers_hold_no_place_against_administrators(self, command: Command) -> None:
        port = free_port()
        daemon = command.daemon("--as-server", "--admin", str(port))
        strangers = [connect_as(port, NOBODY) for _ in range(30)]
        assert ask(port, "pid") == [str(daemon.pid)]
        for connection in strangers:
            connection.close()
