"""The Message-ID of a message, as its header has it (RFC 5322 section 3.6.4)."""

BEGINNING = 64 * 1024
"""Octets of content in which the header field is looked for."""
LONGEST = 998
"""The most octets of a Message-ID that is kept: those of a line (RFC 5322 section 2.1.1)."""

_FIELD = b"\nmessage-id:"


def of_content(beginning: bytes) -> str:
    """Return the value of the first ``Message-ID`` field, unfolded; empty if there is none.

    ``beginning`` is the content, or at least its first ``BEGINNING`` octets. A value that is too
    long, is not UTF-8 or has control characters counts as none: it cannot identify a message in a
    log or in the history.
    """
    header = _header(beginning[:BEGINNING])
    found = header.lower().find(_FIELD)
    if found < 0:
        return ""
    begin = found + len(_FIELD)
    end = header.find(b"\n", begin)
    while end >= 0 and header[end + 1 : end + 2] in (b" ", b"\t"):  # folded (section 2.2.3)
        end = header.find(b"\n", end + 1)
    return kept(b" ".join(header[begin:end].split())) if end >= 0 else ""


def kept(value: bytes) -> str:
    """Return a Message-ID as text if it can be kept, else an empty text."""
    if len(value) > LONGEST:
        return ""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _header(beginning: bytes) -> bytes:
    """Return the whole lines before the empty one, with LF in front. Filters may write bare LFs."""
    if beginning.startswith(b"\r\n"):
        return b""
    end = beginning.find(b"\r\n\r\n")
    header = beginning if end < 0 else beginning[: end + 2]
    end = header.find(b"\n\n")
    return b"\n" + (header if end < 0 else header[: end + 1])
