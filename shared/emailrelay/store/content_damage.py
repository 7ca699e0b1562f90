"""Compares a stored content with what was accepted."""

from emailrelay.journal import History


def content_damage(history: History, size: int, crc32: int | None = None) -> str | None:
    """Return what is wrong with a content; None: nothing, or an operator wants it sent as it is.

    ``size``: its octets. ``crc32``: its checksum; None: it is not compared.
    """
    if history.released:
        return None
    if history.length not in (None, size):
        return f"content: {size} octets, {history.length} were accepted"
    if crc32 is not None and history.crc32 not in (None, crc32):
        return "content: wrong checksum"
    return None
