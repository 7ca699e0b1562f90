"""How a spool makes mail durable."""

from enum import StrEnum


class SpoolSync(StrEnum):
    """What is on stable storage before a message is acknowledged."""

    FILES = "files"
    """Its two files."""
    LOG = "log"
    """Its record in a log; its files follow."""
