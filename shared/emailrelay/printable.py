"""Makes text from mail and servers safe for a terminal."""


def printable(text: str) -> str:
    r"""Return ``text`` with each control character and invisible character as an escape.

    It escapes the characters that ``str.isprintable`` rejects: control characters (C0 with tab and
    line feed, DEL, C1), line separators, bidirectional controls, which reverse the order of the
    text (UAX #9 section 2), invisible characters and surrogates. They become ``\x1b``, ``\u202e``
    or ``\U000e0001``. Letters of all scripts and the blank stay as they are. The length is not
    bounded.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
