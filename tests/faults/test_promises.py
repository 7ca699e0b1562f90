"""The judge of a store's promises sees each way to break one, and excuses unknowable doubts."""

from dataclasses import asdict
from pathlib import Path

from tests.acceptance.sink import record_of
from tests.acceptance.source import Mail
from tests.faults.checker import Violation
from tests.faults.post_office import EDIT, News
from tests.faults.promises import Promises

MAIL = Mail(12, 100)
"""Comes in by the filters; ``READY`` does not."""
READY = Mail(10, 100)
CUT = 5.0
MESSAGE = "1.2.3"
ENVELOPE = b"X-MailRelay-End: 1\r\nX-MailRelay-Accepted: {}\r\n"


def arrival(*recipients: str, mail: Mail = READY) -> dict[str, object]:
    record = record_of("sender@client.test", list(recipients), mail.content, "")
    return {**asdict(record), "queue_id": MESSAGE}


def judged(spool: Path, *news: News) -> list[Violation]:
    (spool / ".new").mkdir(exist_ok=True)
    promises = Promises()
    for each in news:
        promises.hear(each, CUT)
    return promises.judge(spool, {})


def put(spool: Path, mail: Mail, suffix: str, before: bytes = b"") -> None:
    (spool / f"emailrelay.{MESSAGE}.content").write_bytes(before + mail.content)
    (spool / f"emailrelay.{MESSAGE}.envelope{suffix}").write_bytes(ENVELOPE)


def invariants(found: list[Violation]) -> list[str]:
    return [violation.invariant for violation in found]


def test_what_was_committed_and_is_nowhere_is_lost(tmp_path: Path) -> None:
    assert invariants(judged(tmp_path, ("committed", 1.0, MAIL.id))) == ["I1"]


def test_statements_made_without_power_do_not_count(tmp_path: Path) -> None:
    assert judged(tmp_path, ("committed", 6.0, MAIL.id)) == []


def test_each_recipient_in_doubt_may_come_with_a_copy_of_its_own(tmp_path: Path) -> None:
    both, ann, bob = arrival("ann", "bob"), arrival("ann"), arrival("bob")
    apart: list[News] = [
        ("dot", 2.0, ann),
        ("settled", 2.1, (MESSAGE, ["ann"])),
        ("dot", 2.2, bob),
        ("settled", 2.3, (MESSAGE, ["bob"])),
    ]
    assert judged(tmp_path, ("dot", 1.0, both), ("settled", 6.0, (MESSAGE, ["ann"])), *apart) == []


def test_who_has_it_for_certain_may_not_get_it_again(tmp_path: Path) -> None:
    ann = arrival("ann")
    found = judged(
        tmp_path, ("dot", 1.0, ann), ("settled", 1.1, (MESSAGE, ["ann"])), ("dot", 2.0, ann)
    )
    assert found[0] == Violation("I3", f"{MESSAGE} was sent to {{'ann'}}, who had it for certain")


def test_what_filters_made_may_not_be_lost(tmp_path: Path) -> None:
    edited: list[News] = [("passing", 1.0, MESSAGE), ("edited", 1.1, MESSAGE)]
    put(tmp_path, MAIL, "", EDIT)
    assert judged(tmp_path, *edited) == []
    put(tmp_path, MAIL, "")
    assert invariants(judged(tmp_path, *edited)) == ["I2"]
    put(tmp_path, MAIL, "", EDIT + EDIT)
    assert invariants(judged(tmp_path, *edited)) == ["I2", "I2"]


def test_nothing_passes_its_filters_unseen(tmp_path: Path) -> None:
    put(tmp_path, READY, "")
    assert judged(tmp_path) == []
    put(tmp_path, MAIL, "")
    assert invariants(judged(tmp_path)) == ["I2"]
    sent = arrival("ann", mail=MAIL)
    assert "I2" in invariants(judged(tmp_path, ("dot", 1.0, sent), ("passing", 9.0, "4.5.6")))
