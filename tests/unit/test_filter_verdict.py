"""The table of exit codes in docs/filters.md, and the printed replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.filters.verdict import (
    CAPTURED,
    Abandon,
    Accept,
    Reject,
    Side,
    Skip,
    Verdict,
    from_exit_code,
)
from emailrelay.reply import Reply


def server(code: int, output: bytes = b"") -> Verdict:
    return from_exit_code(code, output, Side.SERVER)


def client(code: int, output: bytes = b"") -> Verdict:
    return from_exit_code(code, output, Side.CLIENT)


def rejection(output: bytes) -> Reject:
    verdict = server(1, output)
    assert isinstance(verdict, Reject)
    return verdict


def refused(code: int, reply_code: int) -> Reject:
    return Reject(reply=Reply(reply_code, "rejected"), reason=f"exit code {code}")


SERVER_REJECTS = [*range(1, 100), *range(105, 256)]
CLIENT_FAILS = [*range(1, 100), *range(106, 256)]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, Accept()),
        (100, Abandon()),
        (101, Accept()),
        (102, Abandon(rescan=True)),
        (103, Accept(rescan=True)),
        (104, Reject(reply=Reply(452, "rejected"), reason="exit code 104", rescan=True)),
        *((code, refused(code, 452)) for code in SERVER_REJECTS),
    ],
)
def test_exit_code_of_a_server_filter_means_what_the_table_says(
    code: int, verdict: Verdict
) -> None:
    assert server(code) == verdict


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, Accept()),
        (100, Skip()),
        (101, Accept()),
        (102, Accept(stop_run=True)),
        (103, Accept()),
        (104, Skip(stop_run=True)),
        (105, Reject(reply=Reply(550, "rejected"), reason="exit code 105", stop_run=True)),
        *((code, refused(code, 550)) for code in CLIENT_FAILS),
    ],
)
def test_exit_code_of_a_client_filter_means_what_the_table_says(
    code: int, verdict: Verdict
) -> None:
    assert client(code) == verdict


@pytest.mark.parametrize(
    ("output", "reply", "reason"),
    [
        (b"<<too big>>\n", "452 too big", "exit code 1"),
        (b"[[too big]]\n", "452 too big", "exit code 1"),
        (b"<<too big>>\n<<12 MB>>\n", "452 too big", "12 MB"),
        (b"noise\n<<no>>\nnoise\n[[why]]\n[[never read]]\n", "452 no", "why"),
        (b"<<no>> more", "452 no", "exit code 1"),
        (b"<<554 5.7.1 spam>>", "554 5.7.1 spam", "exit code 1"),
        (b"<<451 later>>", "451 later", "exit code 1"),
        (b"<<550>>", "550 rejected", "exit code 1"),
        (b"<<250 fine>>", "452 250 fine", "exit code 1"),
        (b"<<5501 things>>", "452 5501 things", "exit code 1"),
        (b"<<>>\n<<>>\n", "452 rejected", "exit code 1"),
        (b" <<not at the start>>", "452 rejected", "exit code 1"),
        (b"<<not ended\n", "452 rejected", "exit code 1"),
        (b"<<mixed]]\n", "452 rejected", "exit code 1"),
        (b"<<550 text\r\n250 ok>>", "452 rejected", "exit code 1"),
        (b"<<550 text\r250 ok>>", "550 text 250 ok", "exit code 1"),
        (b"<<550 gr\xc3\xbc\xc3\x9fe>>\n<<gr\xc3\xbc\xc3\x9fe>>", "550 gr??e", "grüße"),
    ],
)
def test_marked_lines_give_the_reply_then_the_reason(
    output: bytes, reply: str, reason: str
) -> None:
    verdict = rejection(output)
    assert (str(verdict.reply), verdict.reason) == (reply, reason)


def test_a_client_filters_rejection_is_550_whatever_code_it_prints() -> None:
    verdict = client(1, b"<<451 no>>\n<<why>>")
    assert verdict == Reject(reply=Reply(550, "no"), reason="why")


def test_text_behind_the_first_64_kib_is_not_read() -> None:
    assert rejection(b"\n" * CAPTURED + b"<<550 late>>").reply == Reply(452, "rejected")


def test_what_an_accepting_filter_prints_is_ignored() -> None:
    assert server(0, b"<<550 no>>") == Accept()


@given(st.binary() | st.binary().map(lambda b: b"<<" + b + b">>\n[[" + b + b"]]"))
def test_no_output_can_forge_a_reply(output: bytes) -> None:
    verdict = rejection(output)
    line = str(verdict.reply)
    assert 400 <= verdict.reply.code <= 599
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 510
    assert "\n" not in verdict.reason
    assert verdict.reason
