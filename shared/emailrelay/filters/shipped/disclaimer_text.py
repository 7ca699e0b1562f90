"""The edits that add a footer to the text of a message, as plain rules on the octets of a part."""

import base64
import binascii
import html
import re
from typing import NamedTuple

from emailrelay.charsets import codec_of
from emailrelay.filters.shipped.header_block import name_of
from emailrelay.filters.shipped.mime_scan import MimePart

_PGP = b"-----BEGIN PGP "
_CHARSET = re.compile(rb'(;[ \t\r\n]*charset[ \t]*=[ \t]*)("[^"]*"|[^ \t\r\n;]*)', re.IGNORECASE)
_PROBE = "Az09 <>&#;/\r\n"
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


class Footer(NamedTuple):
    """The text to add, with LF line ends, and its form in HTML."""

    text: str
    html: str

    @classmethod
    def of(cls, text: str, html_text: str | None = None) -> "Footer":
        """Return a footer; without HTML of its own, that is made of the text."""
        lines = text.rstrip().splitlines()
        made = "<br>\n".join(map(html.escape, lines))
        return cls("\n".join(lines), html_text or f"<p>{made}</p>")


class PartEdit(NamedTuple):
    """The new octets of a part: its fields (None: as they are), and its body."""

    fields: list[bytes] | None
    body: bytes


def appended(part: MimePart, last: bytes, footer: Footer) -> bytes | None:
    """Return the octets to add at the end of a body that ends with ``last``.

    None: the part must be decoded for that.
    """
    encoding, charset = part.value(b"content-transfer-encoding"), charset_of(part)
    if part.type.kind != "text/plain" or charset is None or not _ascii_inside(charset):
        return None
    try:
        text = _lines(footer.text).encode(charset)
    except UnicodeError:
        return None
    if encoding == "quoted-printable":
        if last.rstrip(b" \t\r\n").endswith(b"="):
            return None
        text = _quoted(text)
    elif encoding not in _PLAIN_ENCODINGS or (not text.isascii() and encoding in {"", "7bit"}):
        return None
    if not last or last.endswith(b"\n"):
        return text + b"\r\n"
    return b"\r\n" + text


def rewritten(part: MimePart, body: bytes, footer: Footer) -> PartEdit | None:
    """Return a part with the footer in it, decoded and encoded again; None: that is impossible."""
    encoding, charset = part.value(b"content-transfer-encoding"), charset_of(part)
    if charset is None:
        return None
    try:
        text = _decoded(body, encoding)
    except (binascii.Error, ValueError):
        return None
    if _PGP in text:
        return None
    if part.type.kind == "text/html":
        return _html(text, encoding, charset, footer)
    return _plain(part, text, encoding, charset, footer)


def charset_of(part: MimePart) -> str | None:
    """Return Python's name of the charset of a part; None: it is unknown."""
    return codec_of(part.type.parameters.get("charset", "").strip() or "us-ascii")


def _html(text: bytes, encoding: str, charset: str, footer: Footer) -> PartEdit | None:
    if not _ascii_inside(charset):
        return None
    # References for all characters beyond ASCII: right in every charset.
    octets = _lines(footer.html).encode("ascii", "xmlcharrefreplace") + b"\r\n"
    lowered = text.lower()
    place = max(lowered.rfind(b"</body"), -1)
    place = place if place >= 0 else lowered.rfind(b"</html")
    place = place if place >= 0 else len(text)
    body = _encoded(text[:place] + octets + text[place:], encoding)
    return PartEdit(None, body)


def _plain(
    part: MimePart, text: bytes, encoding: str, charset: str, footer: Footer
) -> PartEdit | None:
    try:
        words = _lines(footer.text).encode(charset) if _ascii_inside(charset) else None
    except UnicodeError:
        words = None
    if words is not None and (encoding in {"base64", "quoted-printable"}):
        end = b"" if not text or text.endswith(b"\n") else b"\r\n"
        return PartEdit(None, _encoded(text + end + words + b"\r\n", encoding))
    try:
        whole = text.decode(charset)
    except UnicodeError:
        return None
    whole += "" if not whole or whole.endswith("\n") else "\r\n"
    whole += _lines(footer.text) + "\r\n"
    target = encoding if encoding == "base64" else "quoted-printable"
    return PartEdit(_utf8_fields(part.fields, target), _encoded(whole.encode(), target))


def _utf8_fields(fields: list[bytes], encoding: str) -> list[bytes]:
    """Return the fields of a part whose body is now UTF-8 text in an encoding."""
    kept = [each for each in fields if name_of(each) != b"content-transfer-encoding"]
    types = [each for each in kept if name_of(each) == b"content-type"]
    if types:
        new, count = _CHARSET.subn(rb'\1"utf-8"', types[0])
        if not count:
            new = types[0].rstrip(b" \t\r\n;") + b'; charset="utf-8"\r\n'
        kept[kept.index(types[0])] = new
    else:
        kept.append(b'Content-Type: text/plain; charset="utf-8"\r\n')
    return [*kept, f"Content-Transfer-Encoding: {encoding}\r\n".encode()]


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return base64.b64decode(body)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding in _PLAIN_ENCODINGS:
        return body
    raise ValueError(encoding)


def _encoded(text: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return base64.encodebytes(text).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return _quoted(text)
    return text


def _quoted(text: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", binascii.b2a_qp(text, istext=True))


def _lines(text: str) -> str:
    return re.sub(r"\r?\n", "\r\n", text)


def _ascii_inside(charset: str) -> bool:
    """Tell whether texts in a charset can have ASCII octets added."""
    try:
        return _PROBE.encode(charset) == _PROBE.encode("ascii")
    except UnicodeError:
        return False
