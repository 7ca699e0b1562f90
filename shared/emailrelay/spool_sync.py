"""The ways in which a spool makes mail durable."""

from enum import StrEnum


class SpoolSync(StrEnum):
    """The data that is on stable storage before a message is acknowledged."""

    FILES = "files"
    """The two files of the message."""
    LOG = "log"
    """The record of the message in a log; its files follow later."""
