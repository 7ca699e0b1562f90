"""One relay, and a filter that misbehaves in its own way for each message: nothing is lost, cut, or let through."""

from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.acceptance.relay import Relay, until
from tests.acceptance.source import Load, Mail
from tests.faults.gauge import MIB, Gauge, forget_peak
from tests.faults.ledger import Ledger
from tests.faults.report import Report

DELIVERED, FAILED, DROPPED = "delivered", "failed", "dropped"
FATES = {
    "good": DELIVERED,
    "noise": DELIVERED,
    "rename": DELIVERED,
    "orphan": DELIVERED,
    "daemon": DELIVERED,
    "reads": DELIVERED,
    # Once; at the next try they do their work.
    "hangs": DELIVERED,
    "killed": DELIVERED,
    "halves": DELIVERED,
    "fills": DELIVERED,
    "later": DELIVERED,
    "unknown": DELIVERED,
    "splits": DELIVERED,
    # Always.
    "empties": FAILED,
    "removes": FAILED,
    "garbles": FAILED,
    "crowds": FAILED,
    "rejects": FAILED,
    "injects": FAILED,
    "abandons": DROPPED,
}
"""The fate of a message; the recipient's name chooses the filter's action."""

_ID = b"EMAILRELAY_ID="
FILTER = r"""#!/bin/sh
deed=$(grep -a -o -m 1 'To-Remote: [a-z]*' "$2"); deed=${deed#*: }
first() { mkdir "$0.$deed" 2>/dev/null; }
case $deed in
noise) head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2 ;;
rename) cp "$1" "$1.x" && mv "$1.x" "$1" ;;
orphan) sleep 1000 & ;;
daemon) setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 </dev/null & ;;
reads) cat ;;
hangs) first && sleep 1000 ;;
killed) first && kill -9 $$ ;;
halves) first && { truncate -s 10 "$1"; kill -9 $$; } ;;
fills) first && { ulimit -f 1; head -c 100000 /dev/zero >>"$1" || exit 77; } ;;
later) first && { echo '<<450 4.7.1 later>>'; exit 1; } ;;
unknown) first && exec "$0.no-such-program" ;;
empties) : >"$1" ;;
removes) rm "$1" ;;
garbles) printf '\000\377' >"$2" ;;
crowds) sed -i 's/^X-MailRelay-ToCount: .*/X-MailRelay-ToCount: 1000000\r/' "$2" ;;
rejects) echo '<<550 5.7.1 not this>>'; exit 1 ;;
splits) first && { printf '<<550 5.7.1 no\r\n250 2.0.0 yes>>'; exit 1; } ;;
injects) printf '<<550 5.7.1 no\033[2J\t250 2.0.0 yes>>'; exit 1 ;;
abandons) rm "$1" "$2"; exit 100 ;;
esac
exit 0
"""


def test_each_message_has_its_fate_whatever_its_filter_does(relay: Relay, report: Report) -> None:
    program = relay.directory / "filter"
    program.write_text(FILTER)
    program.chmod(0o755)
    chain = ("--filter", str(program))
    sink = relay.sink().start()
    receiver = relay.receiver(*chain).start()
    times = ("--filter-timeout", "5", "--retry-first", "0.2", "--retry-longest", "0.2")
    filterd = relay.filterd(*chain, *times).start()
    forwarder = relay.forwarder(sink.port).start()
    deeds = list(FATES)

    def deed_of(mail: Mail) -> str:
        return deeds[(mail.number - 1) % len(deeds)]

    forget_peak(filterd.pid)
    before = Gauge.of(filterd.pid)
    load = Load(
        receiver.port,
        len(deeds),
        sessions=4,
        size=3000,
        recipients=lambda mail: [f"{deed_of(mail)}@sink.test"],
    )
    acknowledged = load.run()
    until(lambda: not _moving(relay.spool) and not _moving(relay.spool), "each has its fate")
    grown = Gauge.of(filterd.pid).peak - before.resident
    relay.stop()

    ledger = Ledger()
    ledger.read(service.log for service in (receiver, filterd, forwarder))
    fates = _fates(relay, ledger)
    assert fates == Counter(FATES[deed_of(mail)] for mail in acknowledged.values())
    expected = {id_ for id_, mail in acknowledged.items() if FATES[deed_of(mail)] == DELIVERED}
    arrivals = sink.arrivals()
    assert sorted(arrival.id for arrival in arrivals) == sorted(expected)
    assert all(arrival.all("X-Test-Sha256") == [arrival.sha256] for arrival in arrivals)
    for path in relay.spool.glob("*.envelope.bad"):
        (reason,) = [line for line in path.read_bytes().split(b"\r\n") if b"-Reason: " in line]
        assert not set(reason) & set(range(32)), "a control character in a reason"
    assert _left_running(ledger) == []
    assert relay.scraps() == []
    report.figure(f"{len(deeds)} filters", f"{dict(fates)}; filterd {grown / MIB:+.1f} MiB")
    assert grown <= 8 * MIB


def _fates(relay: Relay, ledger: Ledger) -> Counter[str]:
    assert ledger.faults() == []
    assert ledger.queued == set()
    assert len(list(relay.spool.glob("*.envelope.bad"))) == len(ledger.failed)
    return Counter(
        {
            DELIVERED: len(ledger.delivered),
            FAILED: len(ledger.failed),
            DROPPED: len(ledger.abandoned),
        }
    )


def _moving(spool: Path) -> list[Path]:
    return [path for path in spool.glob("*.envelope*") if path.suffix != ".bad"]


def _left_running(ledger: Ledger) -> list[str]:
    """Give the commands that filters of these messages have left behind: they inherit its id."""
    left = list[str]()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pairs = (process / "environ").read_bytes().split(b"\0")
            ids = {pair.partition(b"=")[2].decode() for pair in pairs if pair.startswith(_ID)}
            if ids & ledger.accepted.keys():
                left.append((process / "cmdline").read_text())
    return left
