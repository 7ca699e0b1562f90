"""One relay, and a server that misbehaves in a new way for each message: each verdict is right."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest
from tests.acceptance.relay import HANG, Relay
from tests.fakes.smtp_peer import Act, Close, Hang, Read, Say, SmtpPeer
from tests.faults.ledger import Ledger
from tests.faults.report import Report
from tests.faults.stock import envelope, put_pair
from tests.service.forwarding import CONTENT, HASTY, Office

from emailrelay.secrets import ClientAccount, Form, Secret
from emailrelay.settlement import Defer
from emailrelay_forwarder.session.account import Account, of_secrets
from emailrelay_forwarder.session.policy import Policy
from emailrelay_forwarder.session.route import NextServer

TROUBLES: Mapping[str, Act] = {
    "421": Say(b"421 4.3.2 going down\r\n", then_close=True),
    "4yz": Say(b"451 4.3.0 not now\r\n"),
    "5yz": Say(b"554 5.0.0 no\r\n"),
    "close": Close(),
    "hang": Hang(),
    "garbage": Say(b"SSH-2.0-OpenSSH_9\r\n"),
}
STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "DOT")
ABOUT_THE_MAIL = {"MAIL", "RCPT", "DATA", "DOT"}
LARGE = CONTENT + (b"x" * 998 + b"\r\n") * 20_000
"""More than the kernel takes without the peer. With less, a fault amid the content would become the
answer to the dot."""
CODES = ("250", "451", "550")
PATIENCE = ("--response-timeout", "4", "--prompt-timeout", "4", "--retry-first", "0.2")
AGAIN = ("--retry-longest", "1", "--connections-per-route", "50")


class Once(dict[bytes, str]):
    """Replies to recipients; a temporary one is given once."""

    def get(self, key: bytes, default: object = None) -> str | None:  # type: ignore[override]
        del default
        reply = super().get(key)
        return self.pop(key) if reply and reply.startswith("4") else reply


@dataclass(frozen=True, slots=True)
class Case:
    """A server, the recipients of the message for it, and the required outcome."""

    name: str
    peer: SmtpPeer
    recipients: tuple[str, ...] = ("to@there.test",)
    content: bytes = CONTENT
    delivered: frozenset[bytes] = frozenset({b"to@there.test"})
    fails: bool = False
    doubtful: bool = False


def _step(step: str, trouble: str) -> Case:
    act = TROUBLES[trouble]
    if step == "CONTENT":
        if isinstance(act, Say):
            act = replace(act, then_close=True)
        peer = SmtpPeer({step: [act, Read(1 << 20, 0.0)]})
        # A server that hangs has read it all, with the final dot, and may have stored it.
        return Case(f"{step} {trouble}", peer, content=LARGE, doubtful=trouble == "hang")
    fails = step in ABOUT_THE_MAIL and trouble == "5yz"
    return Case(
        f"{step} {trouble}",
        SmtpPeer({step: [act]}),
        delivered=frozenset() if fails else frozenset({b"to@there.test"}),
        fails=fails,
        doubtful=step == "DOT" and trouble in ("close", "hang", "garbage"),
    )


def _pattern(codes: tuple[str, ...]) -> Case:
    names = tuple(f"r{n}@there.test" for n in range(4))
    said = {n.encode(): f"{code} for {n}" for n, code in zip(names, codes, strict=True)}
    return Case(
        " ".join(codes),
        SmtpPeer(recipients=Once(said)),
        recipients=names,
        delivered=frozenset(n for n, reply in said.items() if not reply.startswith("550")),
        fails="550" in codes,
    )


def _cases() -> list[Case]:
    steps = [_step(step, trouble) for step, trouble in itertools.product(STEPS, TROUBLES)]
    return steps + [_pattern(codes) for codes in itertools.product(CODES, repeat=4)]


async def test_all_verdicts_about_misbehaving_servers_are_right(
    relay: Relay, report: Report
) -> None:
    cases = _cases()
    async with AsyncExitStack() as peers:
        for case in cases:
            await peers.enter_async_context(case.peer)
        relay.spool.mkdir()
        for number, case in enumerate(cases):
            # Each message names its server; that of the route is never used.
            octets = envelope(*case.recipients, forward_to=case.peer.address)
            put_pair(str(relay.spool), number, case.content, octets)
        forwarder = relay.forwarder(9, *PATIENCE, *AGAIN).start()
        await _until_settled(relay, cases)
        relay.stop()

    wrong = [text for number, case in enumerate(cases) for text in _wrong(relay, number, case)]
    assert wrong == []
    doubted = {int(id_.rpartition(".")[2]) for id_ in relay.possible_duplicates()}
    assert doubted == {number for number, case in enumerate(cases) if case.doubtful}
    books = Ledger()
    books.read([forwarder.log])
    assert books.failed == {f"1.1.{number}" for number, case in enumerate(cases) if case.fails}
    assert len(relay.waiting()) == 2 * len(books.failed)
    report.figure(f"{len(cases)} misbehaving servers", f"{len(cases) - len(wrong)} verdicts right")


async def _until_settled(relay: Relay, cases: Sequence[Case]) -> None:
    """Wait until each message is gone or failed."""
    failing = sum(case.fails for case in cases)
    async with asyncio.timeout(HANG):
        while list(relay.spool.glob("*.envelope")) or (  # noqa: ASYNC110 -- files tell no event
            len(list(relay.spool.glob("*.envelope.bad"))) < failing
        ):
            await asyncio.sleep(0.1)


def _wrong(relay: Relay, number: int, case: Case) -> Iterator[str]:
    """Name the differences from the required outcome."""
    taken = Counter(r for message in case.peer.messages for r in message.recipients)
    if taken != Counter(case.delivered):
        yield f"{case.name}: delivered to {dict(taken)}"
    failed = relay.spool / f"emailrelay.1.1.{number}.envelope.bad"
    if failed.exists() != case.fails:
        yield f"{case.name}: {'failed' if failed.exists() else 'did not fail'}"
    # The peer that reads slowly gives the octets on the wire, with dots and end mark.
    on_the_wire = case.content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    for message in case.peer.messages:
        if message.content not in (case.content, on_the_wire):
            yield f"{case.name}: arrived changed"


def _account(_selector: str, _server: NextServer) -> Account:
    secret = Secret("open sesame")
    return of_secrets(ClientAccount(selector="", form=Form.PLAIN, id="alice", secret=secret))


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(("step", "offer"), [("STAR", "STARTTLS"), ("AUTH", "AUTH PLAIN")])
async def test_trouble_with_encryption_or_login_never_fails_mail(
    step: str, offer: str, trouble: str
) -> None:
    settings = replace(HASTY, policy=Policy(in_clear=True))
    if step == "AUTH":
        settings = replace(settings, accounts=_account)
    script = {"EHLO": f"250-peer.test\r\n250 {offer}", step: TROUBLES[trouble]}
    async with SmtpPeer(script) as peer:
        office = Office(peer.address, settings)
        settlement = await office.send()
        await office.forwarding.close()
    assert isinstance(settlement, Defer)
    assert peer.lines("MAIL") == []
    assert peer.lines(step) != []
