"""The text of a MIME part, decoded within bounds, with visible signs for invisible characters."""

import binascii
from typing import NamedTuple

from emailrelay.charsets import codec_of
from emailrelay.printable import printable
from emailrelay_console.mail.mime_parts import ShownPart

MOST_CHARACTERS = 100_000
MOST_LINES = 5_000
_TAB = 8
_PLAIN = "utf-8"


class PartText(NamedTuple):
    """The beginning of a text."""

    text: str
    whole: bool


def shown_text(part: ShownPart) -> PartText:
    """Return the text for people: lines of printable characters."""
    text, whole = decoded(part, MOST_CHARACTERS)
    lines = text.replace("\r\n", "\n").split("\n")
    shown = "\n".join(printable(line.expandtabs(_TAB)) for line in lines[:MOST_LINES])
    return PartText(
        shown[:MOST_CHARACTERS],
        whole and len(lines) <= MOST_LINES and len(shown) <= MOST_CHARACTERS,
    )


def decoded(part: ShownPart, most: int) -> PartText:
    """Return the text without its encodings. What cannot be decoded stays, or has a sign."""
    # An octet takes four characters of base64 or three of quoted-printable; a character, four
    # octets at most.
    octets = _octets(part, most * 16)
    text = octets.decode(codec_of(part.charset or _PLAIN) or _PLAIN, "replace")
    return PartText(text[:most], len(text) <= most and len(part.octets) <= most * 16)


def _octets(part: ShownPart, most: int) -> bytes:
    encoded = part.octets[:most]
    match part.encoding:
        case "base64":
            try:
                return binascii.a2b_base64(encoded + b"===")
            except binascii.Error:
                return encoded
        case "quoted-printable":
            return binascii.a2b_qp(encoded)
        case _:
            return encoded
