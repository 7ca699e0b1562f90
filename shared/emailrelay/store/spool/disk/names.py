"""Which file names mean what in a spool directory."""

import re
from typing import NamedTuple

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage

DRAFTS = ".new"
WORK = ".work"
WAKE = ".wake"
DOUBT = ".doubt"
WAITING = ".waiting"
NOTICES = ".dsn"
LOG = ".wal"
"""What makes commits and settlements durable where there is a log; its lock tells who has the spool open."""
SLOTS = ".slots"
"""Made when a route has a limit that processes share."""
FILTERS_FIRST = ".unfiltered"
"""Present where new mail goes to the filters first: those who submit directly look for it."""
DIRECTORIES = (DRAFTS, WORK, WAKE, DOUBT, WAITING, NOTICES, LOG)

_SUFFIX = {
    Stage.UNFILTERED: ".filter",
    Stage.READY: "",
    Stage.FAILED: ".bad",
    Stage.HELD: ".hold",
}
_STAGE = {suffix: stage for stage, suffix in _SUFFIX.items()}
_ID = re.compile(r"[0-9A-Za-z._-]{1,200}")
_ENVELOPE = re.compile(r"emailrelay\.([0-9A-Za-z._-]{1,200})\.envelope(|\.filter|\.bad|\.hold)")
_CONTENT = re.compile(r"emailrelay\.([0-9A-Za-z._-]{1,200})\.content")
_BUSY = re.compile(r"emailrelay\.([0-9A-Za-z._-]{1,200})\.envelope\.busy")
_OTHER = re.compile(r"emailrelay\.([0-9A-Za-z._-]{1,200}?)\.envelope\..+", re.DOTALL)


class EnvelopeName(NamedTuple):
    """What an envelope's name says."""

    id: QueueId
    stage: Stage


def is_id(text: str) -> bool:
    """Tell whether ``text`` can be a message's id, so that names and paths may be made of it."""
    return _ID.fullmatch(text) is not None


def content(message: QueueId) -> str:
    """Give the name of a message's content."""
    return f"emailrelay.{message}.content"


def envelope(message: QueueId, stage: Stage) -> str:
    """Give the name of a message's envelope at a stage."""
    return f"emailrelay.{message}.envelope{_SUFFIX[stage]}"


def ending(stage: Stage) -> str:
    """Give what the names of all envelopes at a stage end with, and few others."""
    return f".envelope{_SUFFIX[stage]}"


def envelopes(message: QueueId) -> list[str]:
    """Give all names that a message's envelope may have."""
    return [f"emailrelay.{message}.envelope{suffix}" for suffix in _STAGE]


def draft_envelope(message: QueueId) -> str:
    """Give the name of an envelope being written; its acceptance line says where it goes."""
    return f"emailrelay.{message}.envelope"


def busy_envelope(message: QueueId) -> str:
    """Give the name that the old program gave an envelope while it forwarded the message."""
    return f"emailrelay.{message}.envelope.busy"


def parse(name: str) -> EnvelopeName | None:
    """Read an envelope's name; None for every other name, another program's drafts among them."""
    match = _ENVELOPE.fullmatch(name)
    return None if match is None else EnvelopeName(QueueId(match[1]), _STAGE[match[2]])


def parse_content(name: str) -> QueueId | None:
    """Read a content's name."""
    match = _CONTENT.fullmatch(name)
    return None if match is None else QueueId(match[1])


def parse_message(name: str) -> QueueId | None:
    """Read the message's id out of the name of either of its files."""
    if name.endswith(".content"):
        return parse_content(name)
    entry = parse(name)
    return None if entry is None else entry.id


def parse_busy(name: str) -> QueueId | None:
    """Read the name of an envelope that the old program was forwarding when it died."""
    match = _BUSY.fullmatch(name)
    return None if match is None else QueueId(match[1])


def parse_other(name: str) -> QueueId | None:
    """Read the name of an envelope that somebody has put aside under an ending of his own."""
    match = _OTHER.fullmatch(name)
    return None if match is None else QueueId(match[1])


def running_copy(message: QueueId) -> str:
    """Give the name, under ``WORK``, of the copy that filters are working on."""
    return f"{message}.run"


def new_envelope(message: QueueId) -> str:
    """Give the name, under ``WORK``, of where a message's envelope is made anew."""
    return f"{message}.new"


def adopted_copy(message: QueueId) -> str:
    """Give the name, under ``WORK``, of a filters' result that has become the message."""
    return f"{message}.adopt"
