"""``disclaimer:`` on a content: a footer in the text that readers see."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from emailrelay.errors import RelayError
from emailrelay.filters.editing import replaced
from emailrelay.filters.result import opened
from emailrelay.filters.shipped.disclaimer_text import Footer, appended, rewritten
from emailrelay.filters.shipped.header_block import name_of, read_header
from emailrelay.filters.shipped.mime_scan import MimePart, SealedMessage, readable_parts
from emailrelay.filters.shipped.parameters import DisclaimerFilter
from emailrelay.secrets.secret_text import SecretUnusable, read_text

_LARGEST = 4 * 1024 * 1024
"""The most octets of the parts that are decoded to add the footer, together."""
_CHUNK = 64 * 1024
_SIGNATURES = frozenset({b"dkim-signature", b"arc-message-signature"})


class FooterUnusable(RelayError):
    """The file with the footer cannot be used."""


class _Change(NamedTuple):
    """New octets in the place of some of the content."""

    start: int
    end: int
    octets: bytes


def footer_of(one: DisclaimerFilter) -> Footer:
    """Return the footer; files that have not changed are not read again.

    Raises:
        FooterUnusable: a file cannot be read, or is not text.

    """
    return _footer(one.text_file, _version(one.text_file), one.html_file, _version(one.html_file))


def add_disclaimer(one: DisclaimerFilter, content: Path) -> None:
    """Add the footer to a content. Signed and encrypted messages stay as they are.

    Raises:
        FooterUnusable: see ``footer_of``.
        ContentRefused: the header is too long.
        OSError: the system's fault.

    """
    footer = footer_of(one)
    with opened(content, "content") as file:
        changes = sorted(_changes(file, footer))
        if changes:
            with replaced(content) as write:
                _write(file, changes, write)


def _changes(file: BinaryIO, footer: Footer) -> Iterator[_Change]:
    block = read_header(file)
    if any(name_of(each) in _SIGNATURES for each in block.fields):
        return
    body = block.end + len(_empty_line(file, block.end))
    try:
        parts = readable_parts(block.fields, file, body)
    except SealedMessage:
        return
    left = _LARGEST
    for part in parts:
        for change in _part_changes(file, part, footer, left):
            left -= change.end - change.start
            yield change


def _part_changes(file: BinaryIO, part: MimePart, footer: Footer, most: int) -> Iterator[_Change]:
    file.seek(max(part.body, part.end - 8))
    octets = appended(part, file.read(min(8, part.end - part.body)), footer)
    if octets is not None:
        yield _Change(part.end, part.end, octets)
        return
    if part.end - part.body > most:
        return
    file.seek(part.body)
    edit = rewritten(part, file.read(part.end - part.body), footer)
    if edit is None:
        return
    if edit.fields is not None:
        end = part.header + sum(map(len, part.fields))
        whole = part.header > 0 or any(name_of(e) == b"mime-version" for e in edit.fields)
        version = [] if whole else [b"MIME-Version: 1.0\r\n"]
        yield _Change(part.header, end, b"".join([*edit.fields, *version]))
    yield _Change(part.body, part.end, edit.body)


def _empty_line(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    start = file.read(2)
    if start == b"\r\n":
        return start
    return b"\n" if start.startswith(b"\n") else b""


def _write(file: BinaryIO, changes: list[_Change], write: Callable[[bytes], object]) -> None:
    at = 0
    for change in changes:
        _copy(file, at, change.start, write)
        write(change.octets)
        at = change.end
    _copy(file, at, None, write)


def _copy(file: BinaryIO, start: int, end: int | None, write: Callable[[bytes], object]) -> None:
    file.seek(start)
    left = None if end is None else end - start
    while left is None or left > 0:
        chunk = file.read(_CHUNK if left is None else min(_CHUNK, left))
        if not chunk:
            return
        write(chunk)
        left = None if left is None else left - len(chunk)


def _version(path: Path | None) -> tuple[int, ...]:
    if path is None:
        return ()
    try:
        status = path.stat()
    except OSError as error:
        raise FooterUnusable(f"{path}: cannot be read: {error.strerror}") from error
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@lru_cache(maxsize=64)
def _footer(text: Path, _text: object, html: Path | None, _html: object) -> Footer:
    try:
        words = read_text(text, secret=False)
        html_words = None if html is None else read_text(html, secret=False)
    except SecretUnusable as error:
        raise FooterUnusable(str(error)) from error
    if not words.strip() or any(c < " " and c not in "\r\n\t" for c in words):
        raise FooterUnusable(f"{text}: must hold a text without control characters")
    return Footer.of(words, html_words)
