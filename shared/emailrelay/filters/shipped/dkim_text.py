"""The text that a DKIM signature is about, as plain rules (RFC 6376): relaxed header and body."""

import base64
import hashlib
import re
from collections.abc import Sequence

from emailrelay.filters.shipped.address_spans import address_spans
from emailrelay.filters.shipped.domain_name import ascii_domain
from emailrelay.filters.shipped.header_block import body_of, name_of

SIGNATURE = b"dkim-signature"
_BLANKS = re.compile(rb"[ \t]+")
_CRLF = b"\r\n"
_LINE = 72
"""Octets of a line of the signature, without its blank."""
_LONGEST_FROM = 4096
_CHUNK = 64 * 1024


class RelaxedBody:
    """The hash of a body in relaxed form (section 3.4.4), fed in chunks of any size.

    Line ends are CRLF. Blanks and empty lines at the end of a chunk are only counted: the next
    chunk decides whether they belong to the body.
    """

    __slots__ = ("_any", "_hash", "_lines", "_rest")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._any = False
        self._lines = 0
        """The line ends since the last text."""
        self._rest = b""
        """What follows them: nothing, a blank, or a CR whose LF may come."""

    def feed(self, chunk: bytes) -> None:
        """Take the next octets."""
        data = self._rest + chunk
        cr = b"\r" if data.endswith(b"\r") else b""
        data = data[: len(data) - len(cr)]
        text = data.rstrip(b" \t\r\n")
        if text:
            self._flush()
            self._hash.update(_BLANKS.sub(b" ", text).replace(b" \r\n", _CRLF))
            self._any = True
        tail = data[len(text) :]
        self._lines += tail.count(_CRLF)
        blank = b" " if tail.rpartition(_CRLF)[2] else b""
        self._rest = blank + cr

    def finish(self) -> bytes:
        """Return the SHA-256 hash."""
        if self._any:
            self._hash.update(_CRLF)
        return self._hash.digest()

    def _flush(self) -> None:
        while self._lines:
            part = min(self._lines, _CHUNK)
            self._hash.update(_CRLF * part)
            self._lines -= part


def relaxed_field(field: bytes) -> bytes:
    """Return a field in relaxed form (section 3.4.2), with its line end."""
    text = _BLANKS.sub(b" ", body_of(field)).strip(b" \t")
    return name_of(field) + b":" + text + _CRLF


def signed_fields(
    fields: Sequence[bytes], names: Sequence[str], closed: Sequence[str]
) -> tuple[list[str], bytes]:
    """Return the names for ``h=`` and the signed fields in relaxed form, in the same order.

    All fields of a name are signed, the last one first (section 5.4.2). A name that is ``closed``
    stands once more: nothing can add such a field without breaking the signature.
    """
    by_name: dict[bytes, list[bytes]] = {}
    for field in fields:
        by_name.setdefault(name_of(field), []).append(field)
    listed, text = list[str](), list[bytes]()
    for name in names:
        found = by_name.get(name.lower().encode(), [])
        listed += [name.lower()] * (len(found) + (name.lower() in closed))
        text += map(relaxed_field, reversed(found))
    return listed, b"".join(text)


def signature_field(
    *, algorithm: str, domain: str, selector: str, now: int, names: Sequence[str], body: bytes
) -> bytes:
    """Return the field without the value of ``b=`` and without a line end (section 3.5)."""
    tags = [
        *("v=1;", f"a={algorithm};", "c=relaxed/relaxed;", f"d={domain};", f"s={selector};"),
        f"t={now};",
        *_name_words(names),
        f"bh={base64.b64encode(body).decode()};",
        "b=",
    ]
    return _folded("DKIM-Signature:", tags)


def with_signature(field: bytes, signature: bytes) -> bytes:
    """Return a whole field: the value of ``b=`` is added in short lines."""
    value = base64.b64encode(signature)
    lines = [value[at : at + _LINE] for at in range(0, len(value), _LINE)]
    return field + b"".join(b"\r\n " + line for line in lines) + _CRLF


def _name_words(names: Sequence[str]) -> list[str]:
    words = [f"{name}:" for name in names[:-1]] + [f"{names[-1]};"]
    return [f"h={words[0]}", *words[1:]]


def _folded(start: str, words: Sequence[str]) -> bytes:
    lines, line = list[str](), start
    for word in words:
        if len(line) + len(word) + 1 > _LINE:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]).encode()


def author_domain(fields: Sequence[bytes]) -> str | None:
    """Return the domain of the author, in lower case and ASCII; None: there is not just one.

    A message with several From fields has none: readers and verifiers would choose different ones.
    """
    found = [field for field in fields if name_of(field) == b"from"]
    if len(found) != 1 or len(found[0]) > _LONGEST_FROM:
        return None
    text = body_of(found[0])
    found_domains = (
        text[span.start : span.end].rpartition(b"@")[2] for span in address_spans(text)
    )
    try:
        domains = {ascii_domain(domain.decode()) for domain in found_domains}
    except UnicodeError:
        return None
    domain = domains.pop() if len(domains) == 1 else ""
    return domain if domain and domain.isascii() else None
