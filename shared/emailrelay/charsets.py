"""The codec for a charset that mail names: only those of texts, and none that is slow."""

import codecs

_LONGEST_NAME = 40
_NO_CHARSETS = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
)
"""Codecs of Python that are no charsets of mail.

``punycode`` takes the square of the time, so any sender could stop a process with it.
"""


def codec_of(charset: str) -> str | None:
    """Return the name of the codec for a charset; None: there is none that mail may choose."""
    # Python keeps each unknown name that it has looked up.
    if len(charset) > _LONGEST_NAME:
        return None
    try:
        name = codecs.lookup(charset).name
        b"a".decode(name, "replace")  # Refuses codecs that are not about text, such as ``zip``.
    except (LookupError, ValueError):
        return None
    return None if name.replace("-", "_") in _NO_CHARSETS else name
