"""Address verifiers as administrators write them: programs and services, with a real receiver."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.service.receiving import HANG, Peer, Running, receiving

from emailrelay.config import ReceiverSettings
from emailrelay.events.receiving import SessionTrouble, VerifierTrouble
from emailrelay.reply import one_line
from emailrelay_receiver.dialogue.verifier_answer import from_exit, from_line, question


def settings(spec: object, **values: object) -> ReceiverSettings:
    given = {"domain": "relay.test", "address_verifier": str(spec), **values}
    return ReceiverSettings.model_validate(given)


def program(folder: Path, script: str) -> Path:
    path = folder / "verifier"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def to_rcpt(peer: Peer, recipient: str = "r@y.test") -> str:
    for command in ("EHLO c", "RSET", "MAIL FROM:<s@x.test>"):
        await peer.ask(command)
    return await peer.ask(f"RCPT TO:<{recipient}>")


async def recipients(running: Running, peer: Peer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    assert (await peer.ask("BDAT 0 LAST")).startswith("250")
    ((_, envelope, _),) = running.mail()
    return envelope.to_local, envelope.to_remote


@pytest.mark.parametrize(
    ("script", "local", "remote"),
    [
        ("echo Full Name; echo box; exit 0", ("box",), ()),
        ("exit 0", ("r@y.test",), ()),
        ("echo; echo other@z.test; exit 1", (), ("other@z.test",)),
        ("exit 1", (), ("r@y.test",)),
    ],
)
async def test_a_program_says_where_a_recipient_is(
    tmp_path: Path, script: str, local: tuple[str, ...], remote: tuple[str, ...]
) -> None:
    async with (
        receiving(settings(program(tmp_path, script))) as running,
        running.client() as peer,
    ):
        await peer.reply()
        assert (await to_rcpt(peer)).startswith("250 2.1.5")
        assert await recipients(running, peer) == (local, remote)


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("echo who is that; exit 2", "550 5.1.1 who is that"),
        ("exit 9", "550 5.1.1 mailbox unavailable"),
        ("echo later; exit 3", "450 4.2.0 later"),
        ("echo 452 full; exit 2", "452 4.2.0 full"),
        ("printf 'a\\033b\\r\\n'; exit 2", "550 5.1.1 a b"),
        ("kill -9 $$", "451 4.4.3 cannot check the address now, try again later"),
    ],
)
async def test_a_program_refuses_a_recipient_and_no_other(
    tmp_path: Path, script: str, reply: str
) -> None:
    path = program(tmp_path, f'case "$1" in r@*) {script} ;; esac\nexit 1')
    async with receiving(settings(path)) as running, running.client() as peer:
        await peer.reply()
        assert await to_rcpt(peer) == reply
        assert (await peer.ask("RCPT TO:<other@y.test>")).startswith("250")
        assert await recipients(running, peer) == ((), ("other@y.test",))


async def test_a_program_gets_the_client_as_arguments_without_a_shell(tmp_path: Path) -> None:
    path = program(tmp_path, f'printf "%s\\n" "$@" >{tmp_path}/told; exit 1')
    async with receiving(settings(path)) as running, running.client() as peer:
        await peer.reply()
        assert (await to_rcpt(peer, "`id`|id&$IFS@y.test")).startswith("250")
        port = peer.writer.get_extra_info("sockname")[1]
    told = (tmp_path / "told").read_text()
    asked = ["`id`|id&$IFS@y.test", "s@x.test", f"127.0.0.1:{port}", "relay.test", "none", ""]
    assert told == "".join(f"{word}\n" for word in asked)


async def test_a_program_that_is_missing_or_slow_makes_clients_come_again(tmp_path: Path) -> None:
    for path, seconds, reason in (
        (tmp_path / "none", HANG, "cannot be run"),
        (program(tmp_path, "sleep 100"), 0.2, "longer than 0.2 s"),
    ):
        limited = settings(path, filter_timeout=seconds)
        async with receiving(limited) as running, running.client() as peer:
            await peer.reply()
            assert (await to_rcpt(peer)).startswith("451 4.4.3")
            assert reason in str(await running.until(VerifierTrouble))


async def test_the_connection_is_dropped_when_a_program_wants_that(tmp_path: Path) -> None:
    async with (
        receiving(settings(program(tmp_path, "exit 100"))) as running,
        running.client() as peer,
    ):
        await peer.reply()
        assert await to_rcpt(peer) == ""
        assert "dropped" in str(await running.until(SessionTrouble))


async def test_vrfy_tells_what_the_verifier_knows(tmp_path: Path) -> None:
    script = (
        'test "$2" = "" || exit 9\n'
        'case "$1" in l*) echo Full Name; echo box; exit 0;; r*) exit 1;; esac; exit 2'
    )
    async with (
        receiving(settings(program(tmp_path, script))) as running,
        running.client() as peer,
    ):
        await peer.reply()
        assert await peer.ask("VRFY local") == "250 2.1.5 Full Name <box>"
        assert (await peer.ask("VRFY <remote@y.test>")).startswith("252")
        assert (await peer.ask("VRFY nobody")).startswith("550 5.1.1")
        assert (await peer.ask("VRFY a b c")).startswith("252")


async def test_the_end_of_the_service_does_not_wait_for_a_verifier(tmp_path: Path) -> None:
    path = program(tmp_path, "sleep 100")
    async with receiving(settings(path)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await peer.reply()
        for command in ("EHLO c", "MAIL FROM:<s@x.test>"):
            await peer.ask(command)
        peer.send(b"RCPT TO:<r@y.test>\r\n")
        await peer.writer.drain()
    assert (await peer.reply())[:3] in {"421", ""}
    writer.transport.abort()


@pytest.mark.parametrize(
    "script",
    [
        "echo; echo 'a b@z.test'; exit 1",
        "echo; echo '<a@z.test>'; exit 1",
        "echo; echo 'a@z.test, b@z.test'; exit 1",
        "echo; echo 'a@'; exit 1",
        "echo; printf 'm\\303\\274ller@z.test\\n'; exit 1",
        "echo; echo 'two words'; exit 0",
        "echo; echo -- -option; exit 0",
    ],
)
async def test_what_is_no_address_is_refused_at_once_and_told(tmp_path: Path, script: str) -> None:
    path = program(tmp_path, f'case "$1" in r@*) {script} ;; esac\nexit 1')
    async with receiving(settings(path)) as running, running.client() as peer:
        await peer.reply()
        assert (await to_rcpt(peer)).startswith("451 4.4.3")
        assert "no address" in str(await running.until(VerifierTrouble))
        assert (await peer.ask("RCPT TO:<other@y.test>")).startswith("250")
        assert await recipients(running, peer) == ((), ("other@y.test",))


class Service:
    """A network verifier that answers from a table, and counts its connections."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.connections = 0
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := (await reader.readline()).decode().rstrip("\n"):
                self.asked.append(line)
                answer = self.answers.get(line.partition("|")[0], "1")
                if answer == "close":
                    break
                if answer != "silence":
                    writer.write(answer.encode() + b"\n")
        finally:
            writer.close()


def longer_than_a_question() -> str:
    """Give an address of evil.test whose first 480 octets are one of example.com."""
    domain = ".".join(["d" * 60] * 3 + ["d" * 28]) + ".example.com"
    return "a" * 256 + f"@{domain}.evil.test"


@asynccontextmanager
async def serving(service: Service) -> AsyncGenerator[str]:
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    try:
        yield f"net:127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_service_is_asked_over_a_connection_that_is_kept() -> None:
    service = Service(
        {
            "l@y.test": "0|box|Full Name",
            "r@y.test": "1|other@z.test",
            "n@y.test": "2|no such user|secret diagnostic",
            "f@y.test": "2|452 4.2.2 full|x",
            "t@y.test": "3|later",
        }
    )
    async with serving(service) as spec, receiving(settings(spec)) as running:
        async with running.client() as peer:
            await peer.reply()
            assert (await to_rcpt(peer, "l@y.test")).startswith("250")
            assert (await peer.ask("RCPT TO:<r@y.test>")).startswith("250")
            assert await peer.ask("RCPT TO:<n@y.test>") == "550 5.1.1 no such user"
            assert (await peer.ask("RCPT TO:<f@y.test>")).startswith("452 4.2.")
            assert (await peer.ask("RCPT TO:<t@y.test>")).startswith("450 4.2.0 later")
            assert await recipients(running, peer) == (("box",), ("other@z.test",))
        assert "secret diagnostic" in str(running.events)
    assert service.connections == 1
    assert service.asked[0].startswith("l@y.test|s@x.test|127.0.0.1:")
    assert service.asked[0].endswith("|relay.test|none|")


async def test_a_service_is_not_asked_about_another_address_than_the_recipients() -> None:
    service = Service({})
    long = longer_than_a_question()
    cut = one_line(long)
    assert long.endswith(".evil.test")
    assert cut.endswith(".example.com")
    async with (
        serving(service) as spec,
        receiving(settings(spec)) as running,
        running.client() as peer,
    ):
        await peer.reply()
        assert (await to_rcpt(peer, long)).startswith("550 5.1.3 ")
        assert (await peer.ask("RCPT TO:<joe|x@y.test>")).startswith("550 5.1.3 ")
        assert (await peer.ask("VRFY joe|x@y.test")).startswith("550 5.1.3 ")
        assert "does not fit" in str(await running.until(VerifierTrouble, 3))
        assert (await peer.ask("RCPT TO:<joe?x@y.test>")).startswith("250")
        assert await recipients(running, peer) == ((), ("joe?x@y.test",))
    assert [line.partition("|")[0] for line in service.asked] == ["joe?x@y.test"]


async def test_a_kept_connection_that_was_closed_is_made_again() -> None:
    service = Service({"c@y.test": "close"})
    async with (
        serving(service) as spec,
        receiving(settings(spec)) as running,
        running.client() as peer,
    ):
        await peer.reply()
        assert (await to_rcpt(peer, "a@y.test")).startswith("250")
        assert (await peer.ask("RCPT TO:<c@y.test>")).startswith("451 4.4.3")
        assert (await peer.ask("RCPT TO:<b@y.test>")).startswith("250")


@pytest.mark.parametrize("answer", ["what", "", "silence", "x" * 10_000])
async def test_a_service_that_makes_no_sense_makes_clients_come_again(answer: str) -> None:
    async with (
        serving(Service({"r@y.test": answer})) as spec,
        receiving(settings(spec, filter_timeout=0.3)) as running,
        running.client() as peer,
    ):
        await peer.reply()
        assert (await to_rcpt(peer)).startswith("451 4.4.3")
        assert isinstance(await running.until(VerifierTrouble), VerifierTrouble)


async def test_many_clients_ask_at_once() -> None:
    service = Service({})

    async def one(running: Running) -> str:
        async with running.client() as peer:
            await peer.reply()
            return await to_rcpt(peer)

    async with serving(service) as spec, receiving(settings(spec)) as running:
        async with asyncio.timeout(HANG):
            replies = await asyncio.gather(*(one(running) for _ in range(60)))
    assert {reply[:3] for reply in replies} == {"250"}
    assert service.connections <= 20


@given(st.integers(0, 255), st.binary(max_size=200))
def test_no_output_breaks_the_reading_of_an_answer(code: int, output: bytes) -> None:
    from_exit(code, output)
    from_line(output)


@given(st.lists(st.text(max_size=20), min_size=6, max_size=6))
def test_no_field_of_a_question_breaks_out_of_it(fields: list[str]) -> None:
    line = question(tuple(field.encode("utf-8", "replace").decode() for field in fields))
    assert line.count(b"\n") == 1
    assert line.count(b"|") == 5
