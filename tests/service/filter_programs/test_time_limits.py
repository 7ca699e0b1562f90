"""Programs that hang, and the children that they leave, are ended."""

import asyncio
import signal
import subprocess
import sys

import pytest
from tests.service.enough_time import is_written, with_enough_time
from tests.service.filter_programs.program_desk import (
    MESSAGE,
    Desk,
    eventually,
    gone,
    number_in,
    trouble,
)

from emailrelay.filters.program import Exited, ProgramLimits, Programs, TimedOut
from emailrelay.filters.verdict import Accept


async def test_program_that_never_ends_is_ended_with_all_its_group(
    desk: Desk, hasty: Programs
) -> None:
    child = desk.folder / "child"
    script = desk.script(
        f"trap '' TERM\nsh -c 'trap \"\" TERM; sleep 60' &\necho $! > {child}\nwait"
    )

    async def attempt(seconds: float) -> bool:
        hasty.limits = ProgramLimits(timeout=seconds, grace=0.2)
        spoken = await desk.ask(hasty, script)
        assert trouble(spoken).reason == f"no verdict within {seconds:g} s"
        assert trouble(spoken).reply.code == 452
        return is_written(child)

    await with_enough_time(attempt)
    await eventually(lambda: gone(number_in(child)))


async def test_program_may_tidy_up_when_its_time_is_over(desk: Desk, hasty: Programs) -> None:
    note = desk.folder / "note"
    script = desk.script(f"trap 'echo tidy > {note}; exit 0' TERM\nsleep 60 & wait")

    async def attempt(seconds: float) -> bool:
        hasty.limits = ProgramLimits(timeout=seconds, grace=seconds)
        assert await hasty.run((script,), message=MESSAGE) == TimedOut(seconds)
        return is_written(note)

    await with_enough_time(attempt)
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

    async def attempt(seconds: float) -> bool:
        hasty.limits = ProgramLimits(timeout=seconds, grace=0.2)
        return (await desk.ask(hasty, script)).verdict == Accept()

    await with_enough_time(attempt)
    await eventually(lambda: gone(number_in(child)))


@pytest.mark.linux
async def test_child_that_left_the_group_is_ended_with_its_hanging_program(
    desk: Desk, hasty: Programs
) -> None:
    child = desk.folder / "child"
    script = desk.script(f"setsid sh -c 'echo $$ > {child}; sleep 60' &\nsleep 60")

    async def attempt(seconds: float) -> bool:
        hasty.limits = ProgramLimits(timeout=seconds, grace=0.2)
        trouble(await desk.ask(hasty, script))
        return is_written(child)

    await with_enough_time(attempt)
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
