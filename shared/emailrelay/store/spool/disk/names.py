"""The file names in a spool directory, and their meanings."""

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
"""The directory of the log; processes that have the spool open share its lock."""
SLOTS = ".slots"
"""Made if a route has a limit that processes share."""
RECIPIENTS = ".recipients"
"""Made if a forwarder answers questions about recipients: a socket for each of its processes."""
HISTORY = ".history"
"""Made if the history is on: a file for each day, and its bounds."""
FILTERS_FIRST = ".unfiltered"
"""Present if new mail goes to the filters first, for programs that submit directly."""
DIRECTORIES = (DRAFTS, WORK, WAKE, DOUBT, WAITING, NOTICES, LOG)
FOR_MEMBERS = {DRAFTS: 0o070, WAKE: 0o070, RECIPIENTS: 0o070, HISTORY: 0o050}
"""The rights of the spool's group in the directories of a sticky spool; in others it has none."""

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
    """The parts of an envelope's name."""

    id: QueueId
    stage: Stage


def is_id(text: str) -> bool:
    """Tell if ``text`` can be a message's id, so that it is safe in names and paths."""
    return _ID.fullmatch(text) is not None


def content(message: QueueId) -> str:
    """Return the name of a message's content."""
    return f"emailrelay.{message}.content"


def envelope(message: QueueId, stage: Stage) -> str:
    """Return the name of a message's envelope at a stage."""
    return f"emailrelay.{message}.envelope{_SUFFIX[stage]}"


def ending(stage: Stage) -> str:
    """Return the ending of the names of all envelopes at a stage, and of few other names."""
    return f".envelope{_SUFFIX[stage]}"


def envelopes(message: QueueId) -> list[str]:
    """Return all names that a message's envelope may have."""
    return [f"emailrelay.{message}.envelope{suffix}" for suffix in _STAGE]


def draft_envelope(message: QueueId) -> str:
    """Return the name of an envelope being written; its acceptance line has its stage."""
    return f"emailrelay.{message}.envelope"


def busy_envelope(message: QueueId) -> str:
    """Return the name that the old program gave an envelope while it forwarded the message."""
    return f"emailrelay.{message}.envelope.busy"


def parse(name: str) -> EnvelopeName | None:
    """Read an envelope's name; None for every other name, such as another program's drafts."""
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
    """Read the name of an envelope that was renamed by hand to an unknown ending."""
    match = _OTHER.fullmatch(name)
    return None if match is None else QueueId(match[1])


def running_copy(message: QueueId, process: int) -> str:
    """Return the name, under ``WORK``, of the copy that filters of a process are working on.

    ``process`` is that of ``QueueIds``. So a program whose filterd was killed finds no other copy.
    """
    return f"{message}.run-{process}"


def new_envelope(message: QueueId) -> str:
    """Return the name, under ``WORK``, of the directory where a message's envelope is made anew."""
    return f"{message}.new"


def void_copy(message: QueueId) -> str:
    """Return the name of a result that must not be adopted, until its owner removes it."""
    return f"{message}.void"


def adopted_copy(message: QueueId) -> str:
    """Return the name, under ``WORK``, of a filters' result that has become the message."""
    return f"{message}.adopt"
