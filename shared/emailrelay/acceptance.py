"""The first line of a message's journal: with it a draft is complete (``docs/spool.md``, S0).

It has a module of its own, since a program that only adds a message needs no more of the journal.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from emailrelay import journal_line
from emailrelay.ack import Ack
from emailrelay.dsn_request import (
    NO_REQUEST,
    DsnRequest,
    Notify,
    RecipientRequest,
    Return,
)
from emailrelay.envelope import Address
from emailrelay.stage import Stage


class Accepted(NamedTuple):
    """The relay has accepted the message."""

    at: float
    stage: Stage
    """The first stage: unfiltered or ready."""
    length: int
    """Octets of content."""
    crc32: int
    ack: Ack = Ack.STORED
    """The event that the client waited for."""
    session: str = ""
    """The client's session, if its messages share one connection to the next server."""
    dsn: DsnRequest = NO_REQUEST
    """The notifications that the client requested."""
    notice: int = 0
    """0: it is not a notice of this relay. 1: a notice about mail. 2: a notice about a notice."""


_NO_MORE = Accepted(0.0, Stage.READY, 0, 0)[4:]


def write(accepted: Accepted) -> bytes:
    """Return the line, with CRLF."""
    if accepted[4:] == _NO_MORE:  # most lines: four values that need no escapes
        at, stage, length, crc32 = accepted[:4]
        line = f'{{"at":{at!r},"stage":"{stage}","length":{length},"crc32":{crc32}}}'
        return b"%bAccepted: %b\r\n" % (journal_line.PREFIX, line.encode())
    return journal_line.write("Accepted", encode(accepted))


def encode(accepted: Accepted) -> dict[str, Any]:
    """Return the object of the line."""
    value: dict[str, Any] = {
        "at": accepted.at,
        "stage": accepted.stage,
        "length": accepted.length,
        "crc32": accepted.crc32,
    }
    if accepted.ack is not Ack.STORED:
        value["ack"] = accepted.ack
    if accepted.session:
        value["session"] = accepted.session
    if accepted.notice:
        value["notice"] = accepted.notice
    if accepted.dsn != NO_REQUEST:
        value["dsn"] = _encode_dsn(accepted.dsn)
    return value


_STAGES: Mapping[str, Stage] = {stage.value: stage for stage in Stage}


def read(value: Mapping[str, Any]) -> Accepted:
    """Read the object of a line; any problem raises one of the errors of ``journal.parse``."""
    return Accepted(
        at=journal_line.moment(value["at"]),
        stage=_STAGES[value["stage"]],
        length=journal_line.count(value["length"]),
        crc32=journal_line.count(value["crc32"]),
        ack=Ack(value["ack"]) if "ack" in value else Ack.STORED,
        session=str(value["session"]) if "session" in value else "",
        dsn=_dsn(value["dsn"]) if "dsn" in value else NO_REQUEST,
        notice=journal_line.count(value["notice"]) if "notice" in value else 0,
    )


def _encode_dsn(request: DsnRequest) -> dict[str, Any]:
    return {
        "ret": request.give_back or "",
        "envid": request.envelope_id,
        "recipients": {
            address: [",".join(asked.notify), asked.original]
            for address, asked in request.recipients.items()
        },
    }


def _dsn(value: dict[str, Any] | None) -> DsnRequest:
    if value is None:
        return NO_REQUEST
    return DsnRequest(
        give_back=Return(value["ret"]) if value["ret"] else None,
        envelope_id=str(value["envid"]),
        recipients={
            Address(address): RecipientRequest(
                notify=tuple(Notify(word) for word in notify.split(",") if word),
                original=str(original),
            )
            for address, (notify, original) in value["recipients"].items()
        },
    )
