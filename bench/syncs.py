"""Are the syncs really there? The receiver under strace: ``python -m bench.syncs``.

Every 250 for a message must come after syncs of the spool that began when all its content had come.
The exit status is 1 if one does not.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.case import Bench, Durability
from bench.load import KIB, Load
from bench.peers import ours

_CALLS = (
    "fsync,fdatasync,syncfs,io_submit,io_getevents,"
    "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,openat"
)
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?:-?\d+<(?P<path>[^>]*)>)?(?P<rest>.*)")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<call>\w+) resumed>.* = (?P<result>-?\d+)")
_SYNCS = ("fsync", "fdatasync", "syncfs")
_SUBMITTED = re.compile(r"aio_data=(?P<key>\w+), [^}]*?aio_fildes=\d+<(?P<path>[^>]*)>")
_ENDED = re.compile(r"\{data=(?P<key>\w+), obj=\w+, res=0,")
_STORED = re.compile(r'"250 2\.0\.0 Ok: queued as (?P<id>[0-9.]+)')


@dataclass(frozen=True, slots=True)
class Answer:
    """A 250 for a message, with the syncs between the 354 and it."""

    message: str
    synced: tuple[str, ...]

    def safe(self, durability: Durability) -> bool:
        """Tell whether that was enough for the message to be on stable storage."""
        if durability is Durability.LOG:
            return any("/.log" in path or "/.wal" in path for path in self.synced)
        ends = (f"{self.message}.content", f"{self.message}.envelope", "/.new")
        return all(any(path.endswith(end) for path in self.synced) for end in ends)


def answers(trace: Iterable[str]) -> list[Answer]:
    """Read a trace of one session (strace -f -y): syncs count when they have returned 0."""
    found: list[Answer] = []
    synced: list[str] = []
    begun: dict[str, str] = {}
    submitted: dict[str, str] = {}
    for line in trace:
        if "io_submit" in line:
            submitted |= {each["key"]: each["path"] for each in _SUBMITTED.finditer(line)}
            continue
        if "io_getevents" in line:
            ended = (submitted.pop(each["key"], "") for each in _ENDED.finditer(line))
            synced += filter(None, ended)
            continue
        if resumed := _RESUMED.match(line):
            path = begun.pop(resumed["pid"], "")
            if resumed["call"] in _SYNCS and resumed["result"] == "0" and path:
                synced.append(path)
            continue
        called = _LINE.match(line)
        if called is None:
            continue
        path = called["path"] or ""
        if called["call"] in _SYNCS:
            if "unfinished" in called["rest"]:
                begun[called["pid"]] = path
            elif called["rest"].endswith("= 0"):
                synced.append(path)
        elif '"354 ' in called["rest"]:
            synced.clear()
            begun.clear()
            submitted.clear()
        elif stored := _STORED.search(called["rest"]):
            found.append(Answer(stored["id"], tuple(synced)))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Trace a receiver that takes messages, one after another."""
    parser = argparse.ArgumentParser(prog="python -m bench.syncs", description=__doc__)
    parser.add_argument("--messages", type=int, default=50)
    parser.add_argument(
        "--durability", type=Durability, choices=list(Durability), default=Durability.SYNCED
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        directory = Path(made)
        trace = directory / "trace"
        # Detached (-D), strace leaves our signals to the receiver. It shows replies whole.
        strace = ["strace", "-D", "-f", "-y", "-s", "80", "-e", f"trace={_CALLS}", "-o", str(trace)]
        bench = Bench(directory=directory, durability=arguments.durability)
        with ours(bench, forward_to=None, wrapper=strace) as peer:
            Load(messages=arguments.messages, octets=10 * KIB, sessions=1).send(peer.port)
        found = answers(trace.read_text(errors="replace").splitlines())
    unsafe = [answer for answer in found if not answer.safe(arguments.durability)]
    for answer in (*found[:1], *unsafe[:3]):
        print(f"{answer.message}: {', '.join(Path(path).name for path in answer.synced)}")
    syncs = sum(len(answer.synced) for answer in found) / max(1, len(found))
    print(
        f"{len(found)} messages, {syncs:.1f} syncs each, "
        f"{len(unsafe)} answered before they were safe"
    )
    return 1 if unsafe or len(found) != arguments.messages else 0


if __name__ == "__main__":
    sys.exit(main())
