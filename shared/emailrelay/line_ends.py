"""Finds line ends other than CRLF, the only one in mail (RFC 5321 section 2.3.8)."""

import io
from typing import NamedTuple


class Bare(NamedTuple):
    """True if there is a CR without LF after it, and an LF without CR before it."""

    cr: bool
    lf: bool


_NEITHER = Bare(cr=False, lf=False)


def bare(octets: bytes) -> Bare:
    """Find bare CRs and bare LFs; a CR at the very end is bare.

    The decoder of text files records the line ends that it has seen, in one pass. That is ten times
    as fast as counting CRs, LFs and CRLFs, which took half of the time for a large message.
    """
    decoder = io.IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(octets.decode("latin-1"), final=True)
    seen = decoder.newlines
    if seen is None or seen == "\r\n":
        return _NEITHER
    kinds = (seen,) if isinstance(seen, str) else seen
    return Bare(cr="\r" in kinds, lf="\n" in kinds)
