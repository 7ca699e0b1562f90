"""The legacy command moves mail: it keeps, filters, forwards and proxies."""

import smtplib
from pathlib import Path

import pytest
from tests.acceptance.command import GRAMMAR, Command, script
from tests.acceptance.relay import Sink, free_port, until


# Mail
def test_what_the_server_kept_the_client_forwards(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server")
    daemon.submit("a@x.net", "b@y.net")
    content, envelope = command.waiting()
    assert content.endswith(".content")
    assert envelope.endswith(".envelope")
    ended = command.run("--as-client", sink.address)
    assert ended.status == 0
    (arrival,) = sink.arrivals()
    assert (arrival.sender, arrival.recipients) == ("a@x.net", ["b@y.net"])
    assert command.waiting() == []
    assert all(GRAMMAR.fullmatch(line) for line in ended.lines)


def test_mail_that_cannot_be_forwarded_is_kept_and_is_exit_status_1(command: Command) -> None:
    command.daemon("--as-server").submit()
    before = command.waiting()
    assert command.run("--as-client", f"127.0.0.1:{free_port()}").status == 1
    assert command.waiting() == before


def test_a_server_that_polls_forwards_in_the_background(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server", "--forward-to", sink.address, "--poll", "1")
    daemon.submit()
    sink.wait_for(1)
    until(lambda: not command.waiting(), "the spool is empty")


def test_forward_at_the_start_sends_what_waits(command: Command, sink: Sink) -> None:
    first = command.daemon("--as-server")
    first.submit()
    first.stop()
    command.daemon("--as-server", "--forward", "--forward-to", sink.address)
    sink.wait_for(1)


def test_a_proxy_answers_what_the_next_server_answered(command: Command, sink: Sink) -> None:
    command.daemon("--as-proxy", sink.address).submit()
    assert len(sink.arrivals()) == 1
    until(lambda: not command.waiting(), "nothing is kept, moments after the answer")


def test_a_proxy_passes_a_refusal_on_and_keeps_nothing(command: Command, tmp_path: Path) -> None:
    refusing = Sink("refusing", tmp_path, free_port(), ["--refuse", "550 5.1.1 nobody here"])
    refusing.start()
    try:
        daemon = command.daemon("--as-proxy", refusing.address)
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            daemon.submit()
        assert refused.value.smtp_code == 550
        assert "nobody here" in str(refused.value.smtp_error)
    finally:
        refusing.clear_away()
    until(lambda: not command.waiting(), "nothing is kept, moments after the answer")


def test_a_filters_rejection_is_the_answer_and_leaves_nothing(command: Command) -> None:
    rejecting = script(command.directory / "filter", "echo '<<554 not this one>>'; exit 1")
    daemon = command.daemon("--as-server", "--filter", rejecting)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        daemon.submit()
    assert refused.value.smtp_code == 554
    assert "not this one" in str(refused.value.smtp_error)
    until(lambda: not command.waiting(), "nothing is left, moments after the answer")


def test_a_filter_edits_what_is_kept(command: Command) -> None:
    editing = script(command.directory / "filter", 'printf "X-Seen: yes\\r\\n" > "$1.new"\n'
                     'cat "$1" >> "$1.new" && mv "$1.new" "$1"')  # fmt: skip
    command.daemon("--as-server", "--filter", editing).submit()
    content, _ = command.waiting()
    assert (command.spool / content).read_bytes().startswith(b"X-Seen: yes\r\n")
