"""Does the work of counters or history for some relayed messages, to count its instructions.

python -m bench.counted metrics|history|nothing MESSAGES DIRECTORY
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address, Envelope
from emailrelay.events.delivery import Delivered
from emailrelay.events.receiving import Received
from emailrelay.history_record import past
from emailrelay.journal import Attempt
from emailrelay.message_end import MessageEnd
from emailrelay.metrics.counters import Counters
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.history.history_writer import HistoryWriter

_ID = QueueId("1795950612350.2594304671154.6")
_TO = Address("to@bench.invalid")
_BOUNDS = HistoryBounds(30, 1 << 40)


def metrics(directory: Path) -> Callable[[], None]:
    """Return what counters do for a message."""
    counters = Counters(directory / "run", lambda event: sys.exit(str(event)))
    received = Received(id=_ID, sender="a@b", recipients=1, size=10240, client="::1", seconds=0.002)
    delivered = Delivered(
        id=_ID,
        peer="192.0.2.1:25",
        recipients=1,
        reply="250 ok",
        seconds=0.02,
        route="default",
        in_queue=0.03,
    )

    def count() -> None:
        counters(received)
        counters(delivered)

    return count


def history(directory: Path) -> Callable[[], None]:
    """Return what the history of a spool does for a message."""
    writer = HistoryWriter(Directory(str(directory)), clock=time.time, trouble=_trouble)
    writer.keep(_BOUNDS)
    envelope = Envelope(sender=Address("from@bench.invalid"), to_remote=(_TO,), client="::1")
    entries = (
        Accepted(at=1.0, stage=Stage.READY, length=10240, crc32=1 << 31),
        Attempt(at=2.0, peer="192.0.2.1:25", replies={_TO: Reply(250, "2.0.0 Ok")}),
    )

    def record() -> None:
        if writer.on:
            end = MessageEnd.DELIVERED
            writer.add(past(_ID, envelope, entries, now=time.time(), end=end, size=10240))

    return record


def _trouble(doing: str, reason: object) -> None:
    sys.exit(f"{doing}: {reason}")


WORK: dict[str, Callable[[Path], Callable[[], None]]] = {"metrics": metrics, "history": history}


def main() -> None:
    """Do the work."""
    _, name, messages, directory = sys.argv
    work = WORK[name](Path(directory))
    for _ in range(int(messages)):
        work()


if __name__ == "__main__":
    main()
