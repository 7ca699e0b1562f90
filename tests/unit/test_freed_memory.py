"""The handling of freed memory in services."""

import platform
import subprocess
import sys

import pytest

_PIECES = """
import resource
from emailrelay.linux import keep_freed_memory
{first}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
kept = [bytes(200_000) for _ in range(3)]
before = faults()
for _ in range(200):
    kept = [bytes(200_000) for _ in range(3)]
    del kept
print(faults() - before)
"""


def _faults(first: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PIECES.format(first=first)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have no such setting")
def test_what_is_freed_is_used_again_without_page_faults() -> None:
    assert _faults("keep_freed_memory()") < _faults("") / 10
