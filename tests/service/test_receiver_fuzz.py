"""A short form of ``make fuzz``, and a proof that it would notice faults."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fuzz.judgement import Wrong, messages_at_most
from tests.fuzz.rounds import INPUTS, Rounds

SEED = 1
NUMBERS = range(0, 8 * INPUTS, 7)
"""Each kind of settings in each kind of loop."""


def test_the_receiver_withstands_any_input(tmp_path: Path) -> None:
    rounds = Rounds(SEED, tmp_path)
    rounds.run(NUMBERS)
    assert rounds.fuzz.inputs == len(NUMBERS)
    assert rounds.fuzz.messages > 0
    assert {"235", "250", "354", "421", "500", "550"} <= set(rounds.fuzz.codes)


def _none_waits(_: bytes) -> int:
    return 0


def _bare(_: object, body: bytes, **_known: object) -> bytes:
    return body[2:] if body.startswith(b"\r\n") else body


def _fails(*_: object) -> None:
    raise ValueError


@pytest.mark.parametrize(
    ("place", "broken", "told"),
    [
        ("content.dot_reader._overlap", _none_waits, "pieces make a difference|acknowledged"),
        ("content.dot_reader.DotReader._decode", _bare, "bare CR or LF|NUL"),
        ("dialogue.commands.read_mailbox", _fails, "Traceback"),
    ],
)
def test_a_fault_in_the_receiver_is_found_and_can_be_had_again(
    place: str,
    broken: Callable[..., object],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"emailrelay_receiver.{place}", broken)
    with pytest.raises(Wrong, match=told) as found:
        Rounds(SEED, tmp_path).run(NUMBERS)
    number = int(str(found.value).rpartition(" ")[2])
    with pytest.raises(Wrong, match=told):
        Rounds(SEED, tmp_path).run([number])


@pytest.mark.parametrize(
    ("octets", "most"),
    [
        (b"DATA\r\n.\r\n", 1),
        (b"data \n.\r\n", 1),
        (b"DATA\r\nx\n.\r\n\r\n.\r\n", 1),
        (b"DATA\r\nx\n.\n\r.\r\r\n.\n", 0),
        (b"bdat 0 last\r\nBDAT 3\r\nabc", 1),
    ],
)
def test_ends_of_content_are_counted(octets: bytes, most: int) -> None:
    assert messages_at_most(octets) == most
