"""Queued messages written straight into a spool, so that a deep queue takes seconds to make."""

import os
import time
import zlib
from pathlib import Path

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address, Envelope
from emailrelay.queue_id import QueueIds
from emailrelay.stage import Stage

_LINE = b"x" * 70 + b"\r\n"


def fill(spool: Path, messages: int, octets: int, *, due_in: float = 0.0) -> None:
    """Put this many messages into the spool as a receiver does; with ``due_in`` they wait.

    Nothing is synced, and no service may be running.
    """
    now = time.time()
    content = b"Subject: bench\r\n\r\n" + _LINE * (octets // len(_LINE))
    envelope = Envelope(
        sender=Address("from@bench.invalid"),
        to_remote=(Address("to@bench.invalid"),),
        client="127.0.0.1",
    )
    accepted = Accepted(at=now, stage=Stage.READY, length=len(content), crc32=zlib.crc32(content))
    text = envelope_format.write(envelope) + journal_format.write(accepted)
    spool.mkdir(mode=0o770, parents=True, exist_ok=True)
    ids = QueueIds(process=1)
    directory = os.open(spool, os.O_RDONLY)
    try:
        for _ in range(messages):
            name = f"emailrelay.{ids.next(now)}"
            _write(directory, f"{name}.content", content)
            _write(directory, f"{name}.envelope", text)
            if due_in:
                os.utime(f"{name}.envelope", (now, now + due_in), dir_fd=directory)
    finally:
        os.close(directory)


def _write(directory: int, name: str, octets: bytes) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660, dir_fd=directory)
    try:
        os.write(file, octets)
    finally:
        os.close(file)
