"""A running process under strace: records its system calls, or makes one of them fail."""

import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from tests.acceptance.relay import until

CALLS = (
    "openat,write,writev,pwrite64,sendfile,copy_file_range,ftruncate,fallocate,fchmod,utimensat,flock,"
    "fsync,fdatasync,sync_file_range,syncfs,io_submit,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,rmdir,"
    "sendto,sendmsg,close"
)
"""Calls that change a disk, or that a peer hears: no state changes between two of them."""
_LINE = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\(")
_KILLED, _STOPPED, _FAILED = "+++ killed by SIGKILL", "--- stopped by SIGSTOP", "(INJECTED)"

_PARTING = 1.0


class Call(NamedTuple):
    """The n-th call of a name in a thread of a process, counted from the start of a trace."""

    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name}#{self.nth}"


@cache
def missing() -> str | None:
    """Return the reason why nothing can be traced here, or None."""
    if shutil.which("strace") is None:
        return "needs strace"
    trial = ["strace", "-o", "/dev/null", "true"]
    tried = subprocess.run(trial, check=False, capture_output=True, text=True)
    return f"cannot trace: {tried.stderr.strip()}" if tried.returncode else None


@dataclass
class Trace:
    """The output of strace so far."""

    path: Path

    @property
    def lines(self) -> list[str]:
        return self.path.read_text(errors="replace").splitlines()

    @property
    def killed(self) -> bool:
        return any(_KILLED in line for line in self.lines)

    @property
    def stopped(self) -> bool:
        return any(_STOPPED in line for line in self.lines)

    @property
    def failed(self) -> list[str]:
        """The calls that were made to fail."""
        return [line for line in self.lines if _FAILED in line]

    def calls(self, on: str = "") -> list[Call]:
        """Give every call that can be named, in the order of their names.

        ``on``: only those that in every thread are made on a path or file with this in its name.
        """
        made = self._made()
        return sorted(call for call, lines in made.items() if all(on in line for line in lines))

    def _made(self) -> dict[Call, list[str]]:
        counts, made = Counter[tuple[str, str]](), defaultdict[Call, list[str]](list)
        for line in self.lines:
            if match := _LINE.match(line):
                thread, name = match["thread"], match["call"]
                counts[thread, name] += 1
                made[Call(name, counts[thread, name])].append(line)
        return made


@contextmanager
def traced(pid: int, directory: Path, tamper: str = "", calls: str = CALLS) -> Generator[Trace]:
    """Trace a process and its threads, but not the programs it runs.

    ``tamper`` changes a call, in the syntax of strace: ``rename:signal=KILL:when=2`` kills the
    process before its second rename in any thread, ``signal=STOP`` stops the process after the
    call, ``error=EIO`` makes the call fail.
    """
    output = directory / "strace"
    output.unlink(missing_ok=True)
    inject = ["-e", f"inject={tamper}"] if tamper else []
    command = ["strace", "-f", "-y", "-b", "execve", "-o", str(output), "-p", str(pid)]
    with subprocess.Popen(
        [*command, "-e", f"trace={calls}", *inject],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as strace:
        try:
            assert strace.stderr is not None
            _until_attached(pid, strace.stderr)
            yield Trace(output)
        finally:
            _end(strace)


def _end(strace: subprocess.Popen[str]) -> None:
    """Let the process go on alone. Of one that died, strace may wait for ever for a thread."""
    strace.terminate()
    try:
        strace.wait(_PARTING)
    except subprocess.TimeoutExpired:
        strace.kill()
        strace.wait()


def _until_attached(pid: int, said: IO[str]) -> None:
    line = said.readline()
    assert "attached" in line, line
    threads = Path(f"/proc/{pid}/task")
    until(lambda: all(_is_traced(thread) for thread in threads.iterdir()), "strace has all threads")


def _is_traced(thread: Path) -> bool:
    status = (thread / "status").read_text()
    match = re.search(r"^TracerPid:\s+(\d+)$", status, re.MULTILINE)
    return match is not None and match[1] != "0"
