"""The harness of the benchmarks: its arithmetic is right."""

import dataclasses
import os
from pathlib import Path

import pytest
from bench.case import Bound, Durability, Goal, Verdict, Wanted
from bench.cases import ALL
from bench.disk import kind_of
from bench.figures import percentile, ratios, spread
from bench.generate import fill
from bench.load import MIB, Load
from bench.machine import cpu_of, kib_of
from bench.peers import entry
from bench.probe import stamps
from bench.records import Record, outcome, parse
from bench.syncs import answers
from bench.tables import goals, number
from hypothesis import given
from hypothesis import strategies as some

from emailrelay import envelope_format, journal_format

FIGURES = some.lists(some.floats(0.001, 1e6), min_size=1)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 1), (0.07, 7), (0.5, 50), (0.501, 51), (0.99, 99), (1, 100)]
)
def test_percentile_is_the_value_that_the_share_does_not_exceed(
    share: float, expected: float
) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


@given(FIGURES, some.floats(0.001, 1))
def test_no_smaller_value_would_do_for_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    enough = share * len(values) - 1e-6
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < share * len(values) + 1e-6


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_there_is_no_percentile_of_nothing(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="no "):
        percentile(values, share)


def test_a_spread_is_the_median_and_the_range() -> None:
    found = spread([5.0, 1.0, 2.0])
    assert (found.median, found.least, found.most, found.rounds) == (2.0, 1.0, 5.0, 3)


def test_rounds_are_compared_with_their_own_neighbours() -> None:
    assert ratios([10.0, 1.0], [5.0, 0.5]) == [2.0, 2.0]
    with pytest.raises(ValueError, match="2 rounds against 1"):
        ratios([1.0, 2.0], [1.0])


def record(contestant: str, turn: str, rate: float, case: str = "accept") -> Record:
    return Record(
        case=case,
        contestant=contestant,
        durability=Durability.SYNCED,
        round=turn,
        commit="abc",
        figures={"accepted/s": rate},
    )


RATE = Goal(figure="accepted/s", to="postfix", synced=1.8, log=3.5)


def test_an_outcome_pairs_rounds_by_name_and_leaves_lonely_ones_out() -> None:
    records = [
        record("postfix", "a/1", 100),
        record("ours", "a/0", 300),
        record("ours", "a/1", 200),
        record("postfix", "a/0", 100),
        record("ours", "b/0", 900),
        record("postfix", "a/0", 1, case="another"),
    ]
    found = outcome(records, case="accept", goal=RATE)
    assert found is not None
    assert (found.median, found.least, found.most, found.rounds) == (2.5, 2.0, 3.0, 2)
    assert outcome(records, case="relay", goal=RATE) is None


def test_a_figure_without_another_contestant_is_taken_as_it_is() -> None:
    goal = Goal(figure="accepted/s", synced=100)
    found = outcome([record("ours", "a", 70), record("postfix", "a", 7)], case="accept", goal=goal)
    assert found is not None
    assert found.median == 70


@pytest.mark.parametrize(
    ("bound", "value", "durability", "verdict"),
    [
        (Bound.AT_LEAST, 1.8, Durability.SYNCED, Verdict.AIM),
        (Bound.AT_LEAST, 1.79, Durability.SYNCED, Verdict.BELOW),
        (Bound.AT_LEAST, 1.8, Durability.LOG, Verdict.FLOOR),
        (Bound.AT_LEAST, 1.49, Durability.LOG, Verdict.BELOW),
        (Bound.AT_MOST, 1.8, Durability.SYNCED, Verdict.AIM),
        (Bound.AT_MOST, 1.81, Durability.SYNCED, Verdict.BELOW),
        (Bound.AT_MOST, 1.5, Durability.LOG, Verdict.AIM),
    ],
)
def test_a_goal_is_reached_from_its_good_side(
    bound: Bound, value: float, durability: Durability, verdict: Verdict
) -> None:
    goal = Goal(figure="accepted/s", bound=bound, synced=1.8, log=Wanted(1.5, 3.5))
    assert goal.verdict(value, durability) is verdict


def test_a_goal_without_a_figure_for_the_log_asks_for_the_same() -> None:
    assert Goal(figure="accepted/s", synced=2).wanted(Durability.LOG) == Wanted(2, 2)


def test_the_kind_of_a_file_system_is_found_by_its_device_number() -> None:
    mounts = (
        "22 27 0:21 / /proc rw - proc proc rw\n"
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    )
    assert kind_of(mounts, "254:0") == "ext4"
    assert kind_of(mounts, "9:9") == "an unknown file system"


def test_a_figure_below_its_floor_is_shown_as_such() -> None:
    case = next(case for case in ALL if case.name == "accept-10KiB-20")
    records = [record("ours", "a", 95, case.name), record("postfix", "a", 100, case.name)]
    (line,) = list(goals([case], records, Durability.SYNCED))[2:]
    assert "≥ 1 / 1.8" in line
    assert "0.95 (0.95-0.95)" in line
    assert "**below the floor**" in line


def test_the_table_has_the_share_of_the_mail_and_the_highest_load() -> None:
    case = next(case for case in ALL if case.name == "accept-10KiB-20")
    records = [record("ours", "a", 200, case.name), record("postfix", "a", 100, case.name)]
    less = [
        dataclasses.replace(one, scale=0.2, load=load)
        for one, load in zip(records, (1.5, 3), strict=True)
    ]
    (line,) = list(goals([case], less, Durability.SYNCED))[2:]
    assert line.endswith("| 0.2 | 3.00 | aim met |")


def test_a_record_survives_its_line() -> None:
    one = record("ours", "a/0", 1234.5)
    assert parse(one.line()) == one


def test_cpu_counts_children_that_ended_and_bears_any_name() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = " ".join(str(number) for number in range(3, 53))
    # In proc(5)'s count utime, stime, cutime and cstime are the fields 14 to 17.
    assert cpu_of(f"42 (a (strange) name) {fields}") == (14 + 15 + 16 + 17) / ticks


def test_memory_is_read_by_its_whole_name() -> None:
    text = "Pss_Dirty:   99 kB\nPss:     1234 kB\n"
    assert kib_of(text, "Pss") == 1234
    with pytest.raises(ValueError, match="no VmHWM"):
        kib_of(text, "VmHWM")


def test_postfix_listens_at_our_port_without_chroot() -> None:
    smtp = "smtp      inet  n       -       y       -       -       smtpd"
    assert entry(smtp, 2525) == "127.0.0.1:2525 inet n - n - - smtpd"
    relay = "smtp      unix  -       -       y       -       -       smtp"
    assert entry(relay, 2525) == "smtp unix - - n - - smtp"
    assert entry("#smtps     inet  n - y - - smtpd", 2525).startswith("#smtps")
    assert entry("  -o syslog_name=postfix/submission", 2525).startswith("  -o")


def test_a_load_is_scaled_but_no_session_goes_without_mail() -> None:
    load = Load(messages=4000, octets=MIB, sessions=20)
    assert load.scaled(0.5).messages == 2000
    assert load.scaled(0.001).messages == 20
    assert load.words == "1 MiB, 20 sessions, many messages a session"


NEW = "/spool/.new"
SAFE = [
    '7 sendto(9<TCP:[1]>, "354 end with <CRLF>.<CRLF>\\r\\n", 28, 0, NULL, 0) = 28',
    f"8 fdatasync(18<{NEW}/emailrelay.1.2.3.content> <unfinished ...>",
    f"9 fdatasync(17<{NEW}/emailrelay.1.2.3.envelope>) = 0",
    f"7 fsync(19<{NEW}>)      = 0",
    "8 <... fdatasync resumed>)          = 0",
    '7 write(9<TCP:[1]>, "250 2.0.0 Ok: queued as 1.2.3\\r\\n", 31) = 31',
]


def test_an_answer_behind_its_syncs_is_safe() -> None:
    (answer,) = answers(SAFE)
    assert answer.message == "1.2.3"
    assert len(answer.synced) == 3
    assert answer.safe(Durability.SYNCED)
    assert not answer.safe(Durability.LOG)


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_missing_or_late_sync_is_noticed(missing: int) -> None:
    late = SAFE[:missing] + SAFE[missing + 1 :] + [SAFE[missing]]
    (answer,) = answers(late)
    assert not answer.safe(Durability.SYNCED)


def test_a_sync_that_failed_or_was_another_message_s_does_not_count() -> None:
    failed = [line.replace("= 0", "= -1 EIO (Input/output error)") for line in SAFE]
    assert not answers(failed)[0].safe(Durability.SYNCED)
    second = [SAFE[0], SAFE[-1].replace("1.2.3", "1.2.4")]
    first, other = answers(SAFE + second)
    assert first.safe(Durability.SYNCED)
    assert not other.safe(Durability.SYNCED)


def test_syncs_of_the_kernel_count_when_they_have_ended_without_an_error() -> None:
    paths = ("1.2.3.content", "1.2.3.envelope", "")
    begun = (
        f"{{aio_data={key}, aio_lio_opcode=IOCB_CMD_FDSYNC, aio_fildes=9</spool/.new/{path}>}}"
        for key, path in zip(("0", "0x1", "0x2"), paths, strict=True)
    )
    submitted = f"7 io_submit(0x7f, 3, [{', '.join(begun)}]) = 3".replace("/>", ">")
    ended = [f"{{data={key}, obj=0x55, res=0, res2=0}}" for key in ("0", "0x1", "0x2")]
    told = f"7 io_getevents(0x7f, 0, 256, [{', '.join(ended)}], NULL) = 3"
    (answer,) = answers([SAFE[0], submitted, told, SAFE[-1]])
    assert answer.safe(Durability.SYNCED)
    (answer,) = answers([SAFE[0], submitted, told.replace("res=0,", "res=-5,", 1), SAFE[-1]])
    assert not answer.safe(Durability.SYNCED)
    (answer,) = answers([SAFE[0], submitted, SAFE[-1], told])
    assert not answer.safe(Durability.SYNCED)


def test_a_synced_log_makes_safe_only_what_relies_on_it() -> None:
    (answer,) = answers([SAFE[0], "7 fdatasync(19</spool/.log/1>) = 0", SAFE[-1]])
    assert answer.safe(Durability.LOG)
    assert not answer.safe(Durability.SYNCED)


def test_generated_messages_are_mail_to_the_spool(tmp_path: Path) -> None:
    fill(tmp_path, 3, 2048, due_in=3600)
    envelopes = sorted(tmp_path.glob("*.envelope"))
    assert len(envelopes) == 3
    for path in envelopes:
        history = journal_format.history(envelope_format.parse(path.read_bytes()).tail)
        assert history.length == path.with_suffix(".content").stat().st_size
        assert history.accepted_at is not None
        assert path.stat().st_mtime > history.accepted_at + 3599


def test_the_probe_sees_each_message_through() -> None:
    with stamps() as target:
        # Straight into the next server: the client's answer follows the server's record.
        times = target.probe(target.port, messages=5, rate=200, octets=1024)
    assert len(times) == 5
    for which, one in enumerate(times):
        assert one.begun < target.arrived[which] < one.answered


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23")]
)
def test_figures_are_written_with_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_cases_have_names_of_their_own_and_goals_for_their_contestants() -> None:
    names = [case.name for case in ALL]
    assert len(set(names)) == len(names)
    for case in ALL:
        for goal in case.goals:
            assert {goal.of, goal.to or goal.of} <= set(case.contestants), case.name
