"""The text of one notice about many failed messages, in the form of ``bounces.dsn``."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate

from emailrelay.bounces import dsn
from emailrelay.bounces.failures import FailedRecipient
from emailrelay.envelope import Address

_SUBJECT = re.compile(r"^subject:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)
_LONGEST_SUBJECT = 100
_MOST_SHOWN = 5
"""Recipients of one message that the part for people names; the part for programs has more."""
BEGINNING = 4096
"""Octets of each message that are read to find its subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedOne:
    """One of the failed messages."""

    id: str
    arrived: float | None
    failures: tuple[FailedRecipient, ...]
    beginning: bytes
    """Its first octets: at most ``BEGINNING``."""


def compose(
    *, message: str, host: str, to: Sequence[Address], now: float, failed: Sequence[FailedOne]
) -> bytes:
    """Return the octets of the notice with the id ``message``, with CRLF line ends."""
    notice = dsn.start(message, host, to, now, f"{len(failed)} messages could not be delivered")
    notice.attach(dsn.plain("\n".join(_words(host, failed))))
    recipients = [replace(each, about=one.id) for one in failed for each in one.failures]
    notice.attach(dsn.status_part(iter([("Reporting-MTA", f"dns; {host}")]), recipients))
    return dsn.octets(notice)


def _words(host: str, failed: Sequence[FailedOne]) -> Iterator[str]:
    yield f"This is the mail system at host {host}."
    yield ""
    yield f"{len(failed)} messages could not be delivered, and will not be tried again. This"
    yield "notice is about all of them, because there were many within an hour."
    yield ""
    for one in failed:
        yield from _words_about(one)
        yield ""


def _words_about(one: FailedOne) -> Iterator[str]:
    subject = _SUBJECT.search(dsn.clean(one.beginning))
    when = f" of {formatdate(one.arrived, localtime=True)}" if one.arrived is not None else ""
    yield f"Message {one.id}{when}"
    if subject is not None:
        yield f"  Subject: {subject[1].strip()[:_LONGEST_SUBJECT]}"
    for failure in one.failures[:_MOST_SHOWN]:
        said = f"{failure.peer}: " if failure.peer else ""
        yield f"  <{failure.recipient}>"
        yield f"    {said}{failure.reply}"
    more = len(one.failures) - _MOST_SHOWN
    if more > 0:
        yield f"  and {more} more recipients"
