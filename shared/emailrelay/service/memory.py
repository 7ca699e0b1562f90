"""What a service does with memory that it has freed: it keeps some, for the next message."""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Of mallopt(3)."""
_MIB = 1024 * 1024


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to a few MiB, rather than give it back and ask again.

    By default it gives back each 128 KiB that are free at the end of its memory, and takes a page fault for each
    4 KiB when it needs them again: for each piece of a large message. That was a third of what such a message cost.
    Only the GNU C library knows such settings; others are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 4 * _MIB)
        mallopt(_TOP_PAD, _MIB)
        mallopt(_MMAP_THRESHOLD, 2 * _MIB)
