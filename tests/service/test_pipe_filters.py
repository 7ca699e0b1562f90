"""Programs that stay running: real programs in sh and Python, their exits and replacements."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.service.enough_time import is_written, with_enough_time
from tests.service.filtering import CONTENT, DEADLINE, PAGE, Desk, trouble

from emailrelay.config import FilterdSettings, read
from emailrelay.errors import ConfigError
from emailrelay.filters import pipe
from emailrelay.filters.guard import MARK
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.shipped.parameters import FilterTables, PipeFilter
from emailrelay.filters.spec import parse_chain, unstartable
from emailrelay.filters.verdict import Accept, Reject, Side, Spoken
from emailrelay.reply import Reply

OK = "#!/bin/sh\nwhile read -r content; do echo ok; done\n"
TELLS_ITS_PID = '#!/bin/sh\nwhile read -r content; do echo "550 $$"; done\n'
Until = Callable[[Callable[[], object]], object]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        yield Desk(tmp_path, programs)


def said(spoken: Spoken) -> str:
    assert isinstance(spoken.verdict, Reject), spoken
    return spoken.verdict.reply.text


def ended(pid: int) -> bool:
    """Tell if a process has ended, and so has closed its pipes: its command line goes before."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def gone(pid: int) -> None:
    """Wait for the end of a process."""
    async with asyncio.timeout(DEADLINE):
        while not ended(pid):  # noqa: ASYNC110 - another process's end
            await asyncio.sleep(0.01)


async def test_program_gets_paths_may_edit_and_stays(desk: Desk) -> None:
    program = desk.script(
        "#!/bin/sh\nwhile read -r content; do\n"
        '{ echo "X-Pid: $$"; cat "$content"; } > "$content.new"; mv "$content.new" "$content"\n'
        "echo ok\ndone\n"
    )
    copies = [desk.copy(), desk.copy()]
    for copy in copies:
        assert await desk.ask(f"pipe:{program}", copy=copy) == Spoken(Accept(), f"pipe:{program}")
    first, second = (copy.content.read_bytes() for copy in copies)
    assert first == second
    assert re.fullmatch(rb"X-Pid: \d+\n" + re.escape(CONTENT), first)


async def test_loop_watches_a_process_once_for_all_its_messages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, watched = asyncio.get_running_loop(), list[int]()
    add = loop.add_reader

    def noted(descriptor: int, *rest: object) -> None:
        watched.append(descriptor)
        add(descriptor, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "add_reader", noted)
    program = desk.script(OK)
    for _ in range(3):
        assert (await desk.ask(f"pipe:{program}")).verdict == Accept()
    assert len(watched) == 1


async def test_answer_is_the_verdict_as_that_of_a_network_filter(desk: Desk) -> None:
    program = desk.script(
        "#!/bin/sh\nwhile read -r content; do printf '550 5.7.1 no\\twhy\\n'; done\n"
    )
    verdict = (await desk.ask(f"pipe:{program}")).verdict
    assert verdict == Reject(reply=Reply(550, "5.7.1 no"), reason="why")
    verdict = (await desk.ask(f"pipe:{program}", side=Side.CLIENT)).verdict
    assert verdict == Reject(reply=Reply(550, "5.7.1 no"), reason="why")


async def test_messages_at_the_same_time_have_a_process_each(desk: Desk) -> None:
    program = desk.script(
        f"#!{sys.executable}\n"
        "import os, pathlib, sys, time\n"
        "for line in sys.stdin:\n"
        "    here = pathlib.Path(line.strip()).parent.parent\n"
        '    (here / f"{os.getpid()}.pid").touch()\n'
        '    while len(list(here.glob("*.pid"))) < 3: time.sleep(0.01)\n'
        '    print("ok", flush=True)\n'
    )
    spoken = await asyncio.gather(*(desk.ask(f"pipe:{program}") for _ in range(3)))
    assert [one.verdict for one in spoken] == [Accept()] * 3


async def test_table_gives_arguments_and_a_number_of_messages(desk: Desk) -> None:
    program = desk.script('#!/bin/sh\nwhile read -r content; do echo "550 $1 $$"; done\n')
    desk.tables = FilterTables(pipe={"p": PipeFilter("pipe:p", program, ("an argument",), 2)})
    answers = [said(await desk.ask("pipe:p")) for _ in range(4)]
    assert answers[0].startswith("an argument ")
    assert answers[0] == answers[1] != answers[2] == answers[3]


async def test_program_sees_what_other_programs_see(desk: Desk) -> None:
    program = desk.script(
        f"#!{sys.executable}\nimport os, sys\nfor line in sys.stdin:\n"
        '    print("550", *sorted(os.environ), os.getsid(0) == os.getpid(), end=" ")\n'
        "    print(os.getcwd(), oct(os.umask(0)), flush=True)\n"
    )
    words = said(await desk.ask(f"pipe:{program}"))
    assert set(words.split()) - {"LC_CTYPE"} == {MARK, "IFS", "PATH", "True", "/", "0o77"}


async def test_process_that_dies_holds_its_message_back_and_is_replaced(desk: Desk) -> None:
    program = desk.script(
        "#!/bin/sh\nwhile read -r content; do\n"
        'grep -q poison "$content" && kill -9 $$\necho ok\ndone\n'
    )
    for _ in range(2):
        assert (await desk.ask(f"pipe:{program}")).verdict == Accept()
        bad = desk.copy(b"Subject: poison\r\n\r\n")
        assert trouble(await desk.ask(f"pipe:{program}", copy=bad)) == "it was killed by signal 9"
    assert (await desk.ask(f"pipe:{program}")).verdict == Accept()


async def test_process_that_died_between_messages_holds_no_mail_back(desk: Desk) -> None:
    program = desk.script(TELLS_ITS_PID)
    pid = int(said(await desk.ask(f"pipe:{program}")))
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert int(said(await desk.ask(f"pipe:{program}"))) != pid


async def test_unasked_output_is_not_taken_for_an_answer(desk: Desk) -> None:
    program = desk.script(
        '#!/bin/sh\nwhile read -r content; do printf "550 $$\\n552 unasked\\n"; done\n'
    )
    first, second = [said(await desk.ask(f"pipe:{program}")) for _ in range(2)]
    assert first.isdigit()
    assert second.isdigit()
    assert first != second


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 3", "it exited with 3"),
        ("printf ok; exit 0", "it exited with 0"),
        ("printf 'ok'; kill -9 $$", "it was killed by signal 9"),
        ("exec >&-; read -r x; read -r x", "it closed its output"),
        ("head -c 100000 /dev/zero | tr '\\0' x; read -r x; read -r x", "its answer is an endless"),
    ],
)
async def test_program_without_a_proper_answer_is_trouble(
    desk: Desk, text: str, reason: str
) -> None:
    program = desk.script(f"#!/bin/sh\nread -r x; {text}\n")
    assert trouble(await desk.ask(f"pipe:{program}")).startswith(reason)


async def test_late_answer_is_not_taken_for_the_next_message(desk: Desk) -> None:
    program = desk.script(
        "#!/bin/sh\ntrap '' TERM\nwhile read -r content; do\n"
        'case $(cat "$content") in *slow*) sleep 1; echo 550 late;; *) echo ok;; esac\ndone\n'
    )
    for limit in (0.3, 0.3):
        desk.programs.limits = ProgramLimits(timeout=limit)
        slow = desk.ask(f"pipe:{program}", copy=desk.copy(b"Subject: slow\r\n\r\n"))
        assert trouble(await slow) == "no verdict within 0.3 s"
        desk.programs.limits = ProgramLimits(timeout=DEADLINE)
        for _ in range(2):
            assert (await desk.ask(f"pipe:{program}")).verdict == Accept()


async def test_child_that_keeps_the_pipes_of_a_dead_process_serves_no_message(desk: Desk) -> None:
    program = desk.script(
        "#!/bin/sh\n[ -e \"$0.once\" ] && exec /bin/sh -c 'while read -r x; do echo ok; done'\n"
        # A child in the background has no input of its own, so it reads from a copy.
        'touch "$0.once"; read -r content; exec 3<&0\n'
        "(read -r content <&3; echo 550 the child) &\necho 550 $$\n"
    )
    await gone(int(said(await desk.ask(f"pipe:{program}"))))
    assert (await desk.ask(f"pipe:{program}")).verdict == Accept()


async def test_starts_of_a_program_that_always_fails_are_more_and_more_apart(desk: Desk) -> None:
    program = desk.script("#!/bin/sh\nread -r x\nexit 1\n")
    reasons = list[str]()
    while not reasons or reasons[-1] == "it exited with 1":
        reasons.append(trouble(await desk.ask(f"pipe:{program}")))
    assert re.fullmatch(r"it failed several times; its next start is in \d+ s", reasons[-1])
    assert len(reasons) == 6


async def test_no_process_starts_after_the_time_of_its_message(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_FIRST_PAUSE", "_LONGEST_PAUSE", "_PATIENCE"):
        monkeypatch.setattr(pipe, limit, 10 * DEADLINE)
    program = desk.script("#!/bin/sh\nread -r x\nexit 1\n")
    assert trouble(await desk.ask(f"pipe:{program}")) == "it exited with 1"
    reason = trouble(await desk.ask(f"pipe:{program}"))
    assert reason.startswith("it failed several times; its next start is in")


async def test_silent_process_is_ended_with_its_children(desk: Desk) -> None:
    program = desk.script(
        '#!/bin/sh\ntrap "" TERM\nread -r content\n'
        'setsid sleep 1000 & echo "$$ $!" > "${content%/*}/pids"\nsleep 1000\n'
    )
    pids = list[Path]()

    async def attempt(seconds: float) -> bool:
        desk.programs.limits = ProgramLimits(timeout=seconds)
        copy = desk.copy()
        pids.append(copy.content.parent / "pids")
        told = trouble(await desk.ask(f"pipe:{program}", copy=copy))
        assert told == f"no verdict within {seconds:g} s"
        return is_written(pids[-1])

    await with_enough_time(attempt)
    for pid in pids[-1].read_text().split():
        await gone(int(pid))


async def test_reload_replaces_the_processes(desk: Desk) -> None:
    program = desk.script(TELLS_ITS_PID)
    pid = int(said(await desk.ask(f"pipe:{program}")))
    desk.programs.pipes.renew()
    assert int(said(await desk.ask(f"pipe:{program}"))) != pid
    await gone(pid)


async def test_process_that_a_message_waited_for_during_a_reload_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = desk.script(
        '#!/bin/sh\nread -r content; [ -e "$0.once" ] || { touch "$0.once"; exit 1; }\n'
        'echo "550 $$"; while read -r content; do echo "550 $$"; done\n'
    )
    assert trouble(await desk.ask(f"pipe:{program}")) == "it exited with 1"
    sleep = asyncio.sleep

    async def reloading(seconds: float) -> None:
        desk.programs.pipes.renew()
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", reloading)
    first = said(await desk.ask(f"pipe:{program}"))
    assert said(await desk.ask(f"pipe:{program}")) == first


async def test_processes_end_with_the_service(tmp_path: Path) -> None:
    async with Programs() as programs:
        desk = Desk(tmp_path, programs)
        pid = int(said(await desk.ask(f"pipe:{desk.script(TELLS_ITS_PID)}")))
    await gone(pid)


async def test_absent_program_is_named_at_the_start_and_holds_mail_back(desk: Desk) -> None:
    spec = f"pipe:{desk.folder / 'no'}"
    assert unstartable(parse_chain([spec])) == {spec: "there is no such file"}
    assert trouble(await desk.ask(spec)) == "cannot be used: No such file or directory"


async def test_examples_of_the_page_do_what_they_say(desk: Desk, tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(#![^`]*?for line in sys\.stdin[^`]*?)```", PAGE)
    program = desk.script(text.replace("/usr/bin/env python3", sys.executable))
    (table,) = re.findall(r"```toml\n([^`]*?\[\[pipe\]\][^`]*?)```", PAGE)
    read_table = settings(tmp_path, table.replace("/usr/local/bin/no-lottery", str(program)))
    desk.tables = read_table.filter_tables
    for spec in (f"pipe:{program}", *read_table.filter):
        assert (await desk.ask(spec)).verdict == Accept()
        bad = desk.copy(b"Subject: lottery\r\n\r\n")
        verdict = (await desk.ask(spec, copy=bad)).verdict
        assert verdict == Reject(reply=Reply(550, "5.7.1 no lotteries"), reason="the word is in it")


# Settings


def settings(tmp_path: Path, text: str) -> FilterdSettings:
    file = tmp_path / "relay.toml"
    file.write_text(text)
    return read(FilterdSettings, [f"--config={file}"], {})


def test_settings_file_has_the_table_that_a_spec_names(tmp_path: Path) -> None:
    text = 'filter = ["pipe:p"]\n[[pipe]]\nname = "p"\nprogram = "/bin/p"\nmessages = 9\n'
    assert settings(tmp_path, text).chain == (PipeFilter("pipe:p", Path("/bin/p"), (), 9),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('filter = ["pipe:q"]\n[[pipe]]\nname = "p"\nprogram = "/bin/p"\n', r"\[\[pipe\]\].*\(p\)"),
        ('filter = ["pipe:"]\n', r"filter pipe:: write a path.*\(there is none\)"),
        ('filter = ["pip:/bin/p"]\n', r"line 1.*there is no kind 'pip'.*pipe:PROGRAM"),
        ('filter = ["pipe:p"]\n[[pipe]]\nname = "p"\n', r"line 2.*program.*is missing"),
        ('[[pipe]]\nname = "p"\nprogram = "/p"\nmessage = 1\n', r"line 4.*did you mean messages"),
    ],
)
def test_wrong_tables_and_specs_stop_the_start(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert len(caught.value.problems) == 1
    assert re.search(told, caught.value.problems[0])


def test_process_tells_every_mistake_with_its_line_and_the_choices(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(
        "# filters\n"
        'filter = ["pip:/bin/x", "dkim:old", "rewrite:"]\n'
        '[[headers]]\nname = "h"\n'
        '[[dkim]]\nname = "new"\ndomain = "example.org"\nselector = "s"\nkey_file = "/k"\n'
        '[[pipe]]\nname = "p"\n'
        '[archive]\ndirectory = "/x"\n'
    )
    program = [sys.executable, "-m", "emailrelay_filterd"]
    ended = subprocess.run(
        [*program, f"--config={file}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 78
    told = ended.stderr.splitlines()
    for place, sentence in (
        ("headers in {}, line 3", "did you mean header"),
        ("[[pipe]] 1 ('p') in {}, line 10, program", "is missing"),
        ("[[archive]] in {}, line 12", "must be a list of tables"),
    ):
        assert [line for line in told if place.format(file) in line and sentence in line], told
    file.write_text(file.read_text().partition("[[headers]]")[0])
    ended = subprocess.run(
        [*program, f"--config={file}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 78
    (line,) = ended.stderr.splitlines()
    for words in (f"filter in {file}, line 2", "'pip'", "pipe:PROGRAM", "[[dkim]]", "[[rewrite]]"):
        assert words in line


def test_comma_between_quotes_does_not_separate_filters() -> None:
    assert [str(one) for one in parse_chain(['"/bin/a,b", exit:0', '"/bin/""c"'])] == [
        "/bin/a,b",
        "exit:0",
        '/bin/"c',
    ]
    spec = '--filter="/bin/a,b",exit:0'
    assert len(read(FilterdSettings, [spec], {}).chain) == 2
