"""A relayed message costs a bounded number of system calls."""

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.calls import PROXY, count, table
from bench.case import Bench, Durability
from bench.load import KIB, Load
from tests.faults.tracing import missing

MESSAGES = 400


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    if shutil.which("smtp-source", path="/usr/sbin") is None:
        pytest.skip("needs smtp-source and smtp-sink, of Debian's postfix")
    if importlib.util.find_spec("uvloop") is None:
        pytest.skip("the bound is that of uvloop")


@pytest.mark.parametrize(("durability", "most"), [(Durability.SYNCED, 46), (Durability.LOG, 47)])
def test_message_of_ten_kib_needs_few_system_calls(
    tmp_path: Path, durability: Durability, most: float
) -> None:
    check(tmp_path, durability, most)


def test_proxied_message_needs_fewer(tmp_path: Path) -> None:
    check(tmp_path, Durability.SYNCED, 30, PROXY)


def check(
    directory: Path, durability: Durability, most: float, receiver: Sequence[str] = ()
) -> None:
    load = Load(messages=MESSAGES, octets=10 * KIB, sessions=20)
    found = count(Bench(directory=directory, durability=durability), load, receiver)
    # The waits for the interpreter's lock depend on the load of the machine.
    waits = sum(calls.get("futex", 0.0) for calls in found.services.values())
    assert found.total - waits <= most, "\n".join(table({durability: found}))
