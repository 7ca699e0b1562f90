"""The surroundings of a filter program: arguments, environment, descriptors, output."""

import os
from pathlib import Path

import pytest
from tests.service.filter_programs.program_desk import MESSAGE, Desk, rejected

from emailrelay.config import FilterdSettings, read
from emailrelay.filters.program import Exited, Programs
from emailrelay.filters.verdict import Accept


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
