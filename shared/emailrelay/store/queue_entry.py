"""A message as ``mailq`` reads it."""

from typing import NamedTuple

from emailrelay.envelope import Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage


class QueueEntry(NamedTuple):
    """A message of the queue, with its envelope if it can be read."""

    id: QueueId
    stage: Stage
    envelope: Envelope | None
    history: History
    problem: str = ""
    """The reason why it cannot be read; then there is no envelope."""
