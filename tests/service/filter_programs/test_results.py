"""The results of programs, also spoilt ones, and of chains of them."""

import signal

import pytest
from tests.service.filter_programs.program_desk import CONTENT, MESSAGE, Desk, rejected, trouble

from emailrelay.envelope import Envelope
from emailrelay.filters.program import Programs, Signalled
from emailrelay.filters.result import read_result
from emailrelay.filters.verdict import Abandon, Accept


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
