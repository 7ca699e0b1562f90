"""Hostile filter programs: real scripts, run as filterd runs them."""

import asyncio
import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.service.filtering import PAGE

from emailrelay import envelope_format
from emailrelay.config import FilterdSettings, ReceiverSettings, read
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.filters import spawn
from emailrelay.filters.chain import Chain
from emailrelay.filters.child import Child
from emailrelay.filters.guard import Guard
from emailrelay.filters.program import (
    Broken,
    Exited,
    ProgramLimits,
    ProgramNotStarted,
    Programs,
    Signalled,
    TimedOut,
)
from emailrelay.filters.result import read_result
from emailrelay.filters.spec import ExitFilter, ProgramFilter, parse_chain, unstartable
from emailrelay.filters.verdict import Abandon, Accept, BrokenFilter, Reject, Side, Spoken
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.store.base import WorkCopy

MESSAGE = QueueId("1.2.3")
ENVELOPE = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
CONTENT = b"Subject: hello\r\n\r\nworld\r\n"
DEADLINE = 10.0


class Desk:
    """A work copy, and scripts to run on it."""

    def __init__(self, folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        self.folder = folder
        self.copy = WorkCopy(str(work / "m.content"), str(work / "m.envelope.new"))
        self.copy.content.write_bytes(CONTENT)
        self.copy.envelope.write_bytes(envelope_format.write(ENVELOPE))

    def script(self, body: str, *, interpreter: str = "/bin/sh", mode: int = 0o755) -> Path:
        return self.program(f"#!{interpreter}\n{textwrap.dedent(body)}", mode=mode)

    def program(self, text: str, *, mode: int = 0o755) -> Path:
        path = self.folder / f"filter{len(list(self.folder.iterdir()))}"
        path.write_text(text)
        path.chmod(mode)
        return path

    def python(self, body: str) -> Path:
        return self.script(body, interpreter=sys.executable)

    async def ask(self, programs: Programs, *filters: Path) -> Spoken:
        chain = Chain(
            filters=tuple(ProgramFilter(path) for path in filters),
            side=Side.SERVER,
            programs=programs,
        )
        return await chain.run(self.copy, message=MESSAGE)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    async with Programs(ProgramLimits(timeout=DEADLINE, grace=1.0)) as running:
        yield running


@pytest.fixture
async def hasty() -> AsyncIterator[Programs]:
    """Programs that are given half a second."""
    async with Programs(ProgramLimits(timeout=0.5, grace=0.2)) as running:
        yield running


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - what other processes do sets no event of ours
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Tell whether a process has ended; an unreaped zombie has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def number_in(path: Path) -> int:
    return int(path.read_text())


def rejected(spoken: Spoken) -> Reject:
    assert isinstance(spoken.verdict, Reject)
    return spoken.verdict


def trouble(spoken: Spoken) -> BrokenFilter:
    assert isinstance(spoken.verdict, BrokenFilter)
    return spoken.verdict


async def test_program_gets_the_two_absolute_paths_and_nothing_else(
    desk: Desk, programs: Programs
) -> None:
    script = desk.script('printf "%s\\n" "$#" "$1" "$2"')
    outcome = await programs.run((script, desk.copy.content, desk.copy.envelope), message=MESSAGE)
    assert isinstance(outcome, Exited)
    said = outcome.output.decode().split()
    assert said == ["2", str(desk.copy.content), str(desk.copy.envelope)]


async def test_environment_is_a_fixed_path_ifs_and_two_names_of_ours(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "secret")
    outcome = await programs.run(("/usr/bin/env",), message=MESSAGE)
    assert isinstance(outcome, Exited)
    lines = outcome.output.decode()
    assert "PATH=/usr/bin:/bin\n" in lines
    assert "IFS= \t\n" in lines
    assert "EMAILRELAY_ID=1.2.3\n" in lines
    assert "secret" not in lines
    assert lines.count("\n") < 7


async def test_commands_of_ours_bear_the_environment_of_a_filter(programs: Programs) -> None:
    outcome = await programs.run(("/usr/bin/env", "-0"), message=MESSAGE)
    assert isinstance(outcome, Exited)
    variables = dict(line.split("=", 1) for line in outcome.output.decode().split("\0")[:-1])
    assert read(FilterdSettings, [], variables).filter_jobs == 4


async def test_only_standard_input_output_and_error_are_open(
    desk: Desk, programs: Programs
) -> None:
    ours = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(ours, True)  # noqa: FBT003 - the only form there is
    # The descriptor that the listing itself needs is closed again when the names are looked at.
    script = desk.python(
        """
        import os
        for fd in ("0", "1", "2"):
            print(os.readlink(f"/proc/self/fd/{fd}"))
        print(sum(os.path.exists(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")))
        """
    )
    outcome = await programs.run((script,), message=MESSAGE)
    os.close(ours)
    assert isinstance(outcome, Exited)
    stdin, stdout, stderr, count = outcome.output.decode().splitlines()
    assert (stdin, stderr, count) == ("/dev/null", "/dev/null", "3")
    assert stdout.startswith("pipe:")


async def test_program_leads_a_session_with_umask_077_and_no_core_files(
    desk: Desk, programs: Programs
) -> None:
    script = desk.python(
        """
        import os, resource
        print(os.getsid(0) == os.getpgid(0) == os.getpid(), oct(os.umask(0)), os.getcwd())
        print(resource.getrlimit(resource.RLIMIT_CORE))
        """
    )
    outcome = await programs.run((script,), message=MESSAGE)
    assert outcome == Exited(0, b"True 0o77 /\n(0, 0)\n")


async def test_program_starts_in_the_same_surroundings_where_a_sandbox_forbids_unshare(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "_leave_the_others", lambda: False)
    script = desk.python(
        """
        import os
        print(os.getsid(0) == os.getpgid(0) == os.getpid(), oct(os.umask(0)), os.getcwd())
        """
    )
    for _ in range(2):
        outcome = await programs.run((script,), message=MESSAGE)
        assert outcome == Exited(0, b"True 0o77 /\n")


async def test_start_of_a_program_leaves_our_own_directory_and_umask_alone(
    programs: Programs,
) -> None:
    directory, umask = Path.cwd(), os.umask(0o027)
    try:
        assert await programs.run(("/bin/true",), message=MESSAGE) == Exited(0, b"")
        assert Path.cwd() == directory
    finally:
        assert os.umask(umask) == 0o027


class SlowStart:
    """Starts programs as ``spawn`` does, each as soon as it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.started: list[Child] = []
        self._real = spawn.spawned
        monkeypatch.setattr(spawn, "spawned", self._spawned)

    def _spawned(self, command: spawn.Command) -> Child:
        self.reached.release()
        self.go.acquire()
        child = self._real(command)
        self.started.append(child)
        return child


@pytest.mark.linux
async def test_program_cancelled_at_its_start_is_killed(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStart(monkeypatch)
    run = asyncio.create_task(programs.run((desk.script("sleep 100"),), message=MESSAGE))
    await asyncio.to_thread(slow.reached.acquire)
    run.cancel()
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.sleep(0)
    slow.go.release()
    with pytest.raises(asyncio.CancelledError):
        await run
    (child,) = slow.started
    assert child.returncode == -signal.SIGKILL


@pytest.mark.linux
async def test_programs_start_side_by_side(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStart(monkeypatch)
    script = desk.script("exit 0")
    runs = [asyncio.create_task(programs.run((script,), message=MESSAGE)) for _ in range(2)]
    for _ in runs:
        await asyncio.to_thread(slow.reached.acquire)
    slow.go.release(2)
    assert await asyncio.gather(*runs) == [Exited(0, b""), Exited(0, b"")]


@pytest.mark.linux
async def test_without_a_thread_the_program_is_not_started(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outcome = await programs.run((desk.script("exit 0"),), message=MESSAGE)
    assert outcome == ProgramNotStarted(os.strerror(errno.EAGAIN))
    assert await programs.run((desk.script("exit 0"),), message=MESSAGE) == Exited(0, b"")


async def test_reading_standard_input_gives_end_of_file(desk: Desk, programs: Programs) -> None:
    assert (await desk.ask(programs, desk.script("cat; exit 0"))).verdict == Accept()


async def test_300_mb_of_output_cost_no_memory(desk: Desk, programs: Programs) -> None:
    script = desk.script("head -c 300000000 /dev/zero; head -c 300000000 /dev/zero >&2; exit 3")
    before = resident()
    outcome = await programs.run((script,), message=MESSAGE)
    assert isinstance(outcome, Exited)
    assert (outcome.code, len(outcome.output)) == (3, 65536)
    assert resident() - before < 4 * 1024 * 1024


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_last_words_before_the_exit_are_heard(desk: Desk, programs: Programs) -> None:
    script = desk.script('echo "<<550 no>>"; exit 1')
    for _ in range(50):
        assert rejected(await desk.ask(programs, script)).reply.code == 550


async def test_program_that_never_ends_is_ended_with_all_its_group(
    desk: Desk, hasty: Programs
) -> None:
    child = desk.folder / "child"
    script = desk.script(
        f"trap '' TERM\nsh -c 'trap \"\" TERM; sleep 60' &\necho $! > {child}\nwait"
    )
    spoken = await desk.ask(hasty, script)
    assert trouble(spoken).reason == "no verdict within 0.5 s"
    assert trouble(spoken).reply.code == 452
    await eventually(lambda: gone(number_in(child)))


async def test_program_may_tidy_up_when_its_time_is_over(desk: Desk, hasty: Programs) -> None:
    note = desk.folder / "note"
    script = desk.script(f"trap 'echo tidy > {note}; exit 0' TERM\nsleep 60 & wait")
    outcome = await hasty.run((script,), message=MESSAGE)
    assert outcome == TimedOut(0.5)
    assert note.read_text() == "tidy\n"


async def test_other_messages_are_filtered_while_one_program_hangs(
    desk: Desk, programs: Programs
) -> None:
    hanging = asyncio.create_task(desk.ask(programs, desk.script("sleep 60")))
    assert (await desk.ask(programs, desk.script("exit 0"))).verdict == Accept()
    assert not hanging.done()
    hanging.cancel()
    await asyncio.wait((hanging,))


async def test_child_that_keeps_the_output_open_delays_nothing(
    desk: Desk, programs: Programs
) -> None:
    script = desk.script("echo before\n(while :; do echo noise; done) &\nexit 0")
    outcome = await programs.run((script,), message=MESSAGE)
    assert isinstance(outcome, Exited)
    assert outcome.output.startswith(b"before\n")


@pytest.mark.linux
@pytest.mark.parametrize("start", ["sleep 60 &", "setsid sleep 60 &"])
async def test_background_child_is_ended_when_the_filters_time_is_over(
    desk: Desk, hasty: Programs, start: str
) -> None:
    child = desk.folder / "child"
    script = desk.script(f"{start}\necho $! > {child}\nexit 0")
    assert (await desk.ask(hasty, script)).verdict == Accept()
    await eventually(lambda: gone(number_in(child)))


@pytest.mark.linux
async def test_child_that_left_the_group_is_ended_with_its_hanging_program(
    desk: Desk, hasty: Programs
) -> None:
    child = desk.folder / "child"
    script = desk.script(f"setsid sh -c 'echo $$ > {child}; sleep 60' &\nsleep 60")
    trouble(await desk.ask(hasty, script))
    await eventually(lambda: gone(number_in(child)))


async def test_nothing_is_left_when_the_runner_ends(desk: Desk) -> None:
    child = desk.folder / "child"
    script = desk.script(f"setsid sleep 60 &\necho $! > {child}")
    async with Programs() as programs:
        await desk.ask(programs, script)
    await eventually(lambda: gone(number_in(child)))


async def test_cancelled_run_kills_its_program(desk: Desk, programs: Programs) -> None:
    child = desk.folder / "child"
    script = desk.script(f"echo $$ > {child}.new; mv {child}.new {child}; sleep 60")
    run = asyncio.create_task(desk.ask(programs, script))
    await eventually(child.exists)
    run.cancel()
    await asyncio.wait((run,))
    assert gone(number_in(child))


def test_programs_die_with_a_killed_runner(desk: Desk) -> None:
    child = desk.folder / "child"
    script = desk.script(f"sh -c 'echo $$ > {child}.new; mv {child}.new {child}; sleep 60'; exit 0")
    runner = f"""
import asyncio
from emailrelay.filters.program import Programs

async def main():
    async with Programs() as programs:
        await programs.run(({str(script)!r},), message="1.2.3")

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", runner]) as process:
        asyncio.run(eventually(child.exists))
        process.send_signal(signal.SIGKILL)
    asyncio.run(eventually(lambda: gone(number_in(child))))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("missing", "No such file or directory"),
        ("not executable", "Permission denied"),
        ("a directory", "Permission denied"),
        ("no interpreter", "No such file or directory"),
    ],
)
async def test_program_that_cannot_be_run_holds_the_message_back(
    desk: Desk, programs: Programs, case: str, reason: str
) -> None:
    program = {
        "missing": desk.folder / "missing",
        "not executable": desk.script("exit 0", mode=0o644),
        "a directory": desk.folder,
        "no interpreter": desk.script("", interpreter="/no/such/shell"),
    }[case]
    spoken = await desk.ask(programs, program)
    assert trouble(spoken).reason == f"cannot execute: {reason}"
    assert trouble(spoken).reply.code == 452


async def test_death_by_a_signal_is_trouble_not_a_verdict(desk: Desk, programs: Programs) -> None:
    script = desk.script("kill -SEGV $$")
    assert await programs.run((script,), message=MESSAGE) == Signalled(signal.SIGSEGV)
    assert trouble(await desk.ask(programs, script)).reason == "killed by signal 11"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('rm "$1"', "content: No such file or directory"),
        (': > "$1"', "content: empty"),
        ('rm "$1"; mkfifo "$1"', "content: not a regular file"),
        ('ln -sf /etc/passwd "$1"', "content: Too many levels of symbolic links"),
        ('rm "$2"', "envelope: No such file or directory"),
        (': > "$2"', "envelope: empty"),
        ('echo junk > "$2"', "envelope: a line is not a field"),
        ('sed -i /End/d "$2"', "envelope: cut short, no end mark"),
        ("""sed -i 's/b@y.test/b\\x07@y.test/' "$2" """, "envelope: control character in a field"),
        (
            """sed -i 's/b@y.test/b@y.test> NOTIFY=NEVER/' "$2" """,
            "envelope: not an address: 'b@y.test> NOTIFY=NEVER'",
        ),
        ("""sed -i 's/b@y.test//' "$2" """, "envelope: not an address: ''"),
        (
            """sed -i '/To-Remote/d; s/Count: 1/Count: 0/' "$2" """,
            "envelope: no recipients, or too many",
        ),
    ],
)
async def test_spoilt_result_of_an_accepting_filter_is_a_rejection(
    desk: Desk, programs: Programs, body: str, reason: str
) -> None:
    verdict = rejected(await desk.ask(programs, desk.script(body)))
    assert verdict.reply.code == 554
    assert verdict.reason == f"after the filter: {reason}"


async def test_a_million_recipients_are_refused(desk: Desk, programs: Programs) -> None:
    script = desk.script(
        """
        { sed '/To-Remote/,$d; s/Count: 1/Count: 1000000/' "$2"
          yes 'X-MailRelay-To-Remote: b@y.test' | head -1000000
          sed -n '/Authentication/,$p' "$2"; } > "$2.x"
        mv "$2.x" "$2"
        """
    )
    assert rejected(await desk.ask(programs, script)).reason.startswith(
        "after the filter: envelope:"
    )


async def test_rejecting_filter_may_leave_rubble(desk: Desk, programs: Programs) -> None:
    spoken = await desk.ask(programs, desk.script('rm "$1" "$2"; exit 100'))
    assert spoken.verdict == Abandon()


async def test_files_replaced_by_renaming_are_found_by_name(desk: Desk, programs: Programs) -> None:
    script = desk.script(
        """
        { echo 'X-Filter: yes'; cat "$1"; } > "$1.x" && mv "$1.x" "$1"
        sed 's/b@y.test/c@z.test/' "$2" > "$2.x" && mv "$2.x" "$2"
        """
    )
    assert (await desk.ask(programs, script)).verdict == Accept()
    assert desk.copy.content.read_bytes() == b"X-Filter: yes\n" + CONTENT
    left = read_result(desk.copy)
    assert isinstance(left, Envelope)
    assert left.recipients == ("c@z.test",)


async def test_chain_stops_at_the_first_filter_that_does_not_accept(
    desk: Desk, programs: Programs
) -> None:
    note = desk.folder / "note"
    yes = desk.script("exit 103")
    no = desk.script("exit 1")
    never = desk.script(f"touch {note}")
    spoken = await desk.ask(programs, yes, no, never)
    assert rejected(spoken).rescan
    assert spoken.filter == str(no)
    assert not note.exists()


async def test_later_filter_sees_what_the_earlier_one_made(desk: Desk, programs: Programs) -> None:
    first = desk.script('echo changed > "$1"')
    second = desk.script('grep -qx changed "$1" || exit 1')
    assert (await desk.ask(programs, first, second)).verdict == Accept()


async def test_runs_leak_no_descriptors_and_no_zombies(desk: Desk, programs: Programs) -> None:
    script = desk.script("exit 0")
    await desk.ask(programs, script)
    before = descriptors()
    for _ in range(20):
        await desk.ask(programs, script)
        await desk.ask(programs, desk.folder / "missing")
    assert descriptors() == before
    assert not [pid for pid in children() if gone(pid)]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> list[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in found.split()]


@pytest.mark.linux
async def test_too_few_descriptors_hold_the_message_back(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = desk.script("sleep 60")

    def refuse(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    outcome = await programs.run((script,), message=MESSAGE)
    assert outcome == ProgramNotStarted("Too many open files")
    assert not [pid for pid in children() if gone(pid)]


async def test_program_that_cannot_be_attended_to_is_ended_and_the_message_waits(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await programs.run(("/bin/true",), message=MESSAGE)  # one-time descriptors are open now
    before, guard = descriptors(), children()

    def refuse(_: int, __: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "set_blocking", refuse)
    outcome = await programs.run((desk.script("sleep 60"),), message=MESSAGE)
    assert outcome == Broken("Cannot allocate memory")
    assert not [pid for pid in children() if gone(pid)]
    assert children() == guard
    assert descriptors() == before


@pytest.mark.parametrize("script", ["echo some; sleep 60", "exit 0"], ids=["runs", "ends"])
async def test_output_that_cannot_be_read_makes_the_message_wait(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    await programs.run(("/bin/true",), message=MESSAGE)  # one-time descriptors are open now
    read, guard = os.read, children()

    def fail(descriptor: int, most: int) -> bytes:
        if not os.get_blocking(
            descriptor
        ):  # ours: what Popen reads of the child's start is blocking
            raise OSError(5, "Input/output error")
        return read(descriptor, most)

    monkeypatch.setattr(os, "read", fail)
    spoken = await desk.ask(programs, desk.script(script))
    assert "Input/output error" in trouble(spoken).reason
    assert children() == guard


@pytest.mark.linux
async def test_leftovers_that_could_not_be_looked_for_are_ended_by_the_next_look(
    desk: Desk, hasty: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([OSError(24, "Too many open files")])
    look = Guard.end_older

    def fail_once(guard: Guard, then: float) -> None:
        for error in looks:
            raise error
        look(guard, then)

    monkeypatch.setattr(Guard, "end_older", fail_once)
    number = desk.folder / "number"
    await desk.ask(hasty, desk.script(f"setsid sleep 60 >/dev/null & echo $! > {number}"))
    pid = number_in(number)
    await eventually(lambda: gone(pid))


def examples() -> list[str]:
    """Give the programs on the administrator's page that run for each message, in their order."""
    page = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()
    found = re.findall(r"```(?:sh|python)\n(#!.*?)```", page, re.DOTALL)
    return [text for text in found if "sys.stdin" not in text]


@pytest.fixture(params=range(3), ids=["header", "size", "greylist"])
def example(request: pytest.FixtureRequest, desk: Desk) -> Path:
    return desk.program(examples()[int(request.param)])


async def test_examples_of_the_page_accept_an_ordinary_message(
    desk: Desk, programs: Programs, example: Path
) -> None:
    assert (await desk.ask(programs, example)).verdict == Accept()


async def test_examples_of_the_page_do_what_they_say(desk: Desk, programs: Programs) -> None:
    header, size, greylist = (desk.program(text) for text in examples())
    await desk.ask(programs, header)
    assert desk.copy.content.read_bytes().startswith(b"X-Filtered-By: ")
    slow = ENVELOPE._replace(sender=Address("a@slow.example"))
    desk.copy.envelope.write_bytes(envelope_format.write(slow))
    assert rejected(await desk.ask(programs, greylist)).reply == Reply(451, "4.7.1 not now")
    desk.copy.content.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    refusal = rejected(await desk.ask(programs, size))
    assert refusal.reply == Reply(552, "5.3.4 message too big")
    assert refusal.reason == "10485761 octets"


def test_specs_of_the_page_are_understood() -> None:
    table = PAGE[PAGE.index("| setting | filter |") : PAGE.index("## Try it first")]
    specs = re.findall(r"`([^`]+:[^`]*)`(?=[^|]*\|.*\|\n)", table)
    found = {spec.partition(":")[0] for spec in specs}
    assert len(found) == 17
    for spec in specs:
        if "NAME" not in spec and spec not in {"header:EDIT", "dkim:"}:  # they need more
            given = spec.replace("HOST", "h").replace("IP:PORT", "192.0.2.1:53")
            assert parse_chain([given.replace("PORT", "25").replace("exit:N", "exit:0")])
    for command in re.findall(r"^emailrelay-filterd (--filter .*)$", PAGE, re.MULTILINE):
        assert read(FilterdSettings, command.split(), {}).chain


def test_specs_are_read_into_a_chain_in_their_order() -> None:
    assert parse_chain(["/bin/a, exit:100", "file:/bin/b"]) == (
        ProgramFilter(Path("/bin/a")),
        ExitFilter(100),
        ProgramFilter(Path("/bin/b")),
    )


def test_every_spec_that_is_not_understood_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_chain(["net:localhost", "exit:256", "", "/bin/true", "spam:"])
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("spec", ["splitt:", "nett:localhost:9", "Exit:0"])
def test_a_kind_that_there_is_not_is_no_path_and_the_kinds_are_listed(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"it can be the path of a program, file:PATH, net:"):
        parse_chain([spec])
    for service in (ReceiverSettings, FilterdSettings):
        with pytest.raises(ConfigError, match=r"there is no kind"):
            read(service, [f"--filter={spec}"], {})


@pytest.mark.parametrize("spec", ["dkim", "split", "msgid", "exit"])
def test_a_kind_without_its_colon_is_no_program(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"filter '{spec}': a colon is missing"):
        parse_chain([spec])


def test_a_path_with_a_colon_is_a_program() -> None:
    named = (ProgramFilter(Path("/bin/a:b")), ProgramFilter(Path("x:y").absolute()))
    assert parse_chain(["/bin/a:b", "file:x:y"]) == named


def test_programs_that_cannot_be_run_are_named_at_start_up(desk: Desk) -> None:
    paths = [desk.folder / "no", desk.folder, desk.script("", mode=0o644), Path("/bin/true")]
    assert list(unstartable(parse_chain([*map(str, paths)])).values()) == [
        "there is no such file",
        "is not a file",
        "is not executable (chmod +x)",
    ]
