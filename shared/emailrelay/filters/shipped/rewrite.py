"""``rewrite:`` on a message: its envelope, and the addresses in its header."""

import socket
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from emailrelay.envelope import Address, Envelope
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import replaced
from emailrelay.filters.result import opened, read_envelope
from emailrelay.filters.shipped.address_spans import address_spans
from emailrelay.filters.shipped.envelope_edit import write_envelope
from emailrelay.filters.shipped.header_block import (
    ContentRefused,
    name_of,
    read_header,
    write_message,
)
from emailrelay.filters.shipped.parameters import RewriteFilter
from emailrelay.filters.shipped.rewrite_map import RewriteMap, RewriteMapUnusable, parse_map
from emailrelay.reply import Reply
from emailrelay.secrets.secret_text import SecretUnusable, read_octets

_LONGEST_MAP = 16 * 1024 * 1024
_MOST_RECIPIENTS = 100_000
"""As in an envelope."""
_TOO_MANY = Reply(552, "5.5.3 too many recipients")
_FIELDS = frozenset(
    {
        *(b"from", b"sender", b"reply-to", b"to", b"cc"),
        *(b"resent-from", b"resent-sender", b"resent-to", b"resent-cc"),
    }
)


def map_of(path: Path) -> RewriteMap:
    """Return the map in a file; a file that has not changed is not read again.

    Raises:
        RewriteMapUnusable: it cannot be read, or is wrong.

    """
    try:
        status = path.stat()
    except OSError as error:
        raise RewriteMapUnusable(f"{path}: cannot be read: {error.strerror}") from error
    return _map(path, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def rewrite(one: RewriteFilter, copy: FilterCopy) -> None:
    """Rewrite a message.

    Raises:
        RewriteMapUnusable: see ``map_of``.
        ContentRefused: the header is too long, or the message has too many recipients now.
        DamagedMessage: an earlier filter has damaged the files.
        OSError: the system's fault.

    """
    found = map_of(one.path)
    before = read_envelope(copy.envelope)
    envelope = before
    if one.senders and before.sender:
        envelope = envelope._replace(sender=found.one(before.sender))
    if one.recipients:
        envelope = envelope._replace(to_remote=_recipients(before, found))
    if envelope != before:
        write_envelope(copy, envelope)
    if one.headers:
        _rewrite_header(found, copy.content)


def rewritten_field(field: bytes, found: RewriteMap) -> bytes:
    """Return a field with the addresses of the map; all other octets stay."""
    if name_of(field) not in _FIELDS:
        return field
    start = field.index(b":") + 1
    text, pieces, at = field[start:], [field[:start]], 0
    for span in address_spans(text):
        old = text[span.start : span.end]
        try:
            new = found.one(Address(old.decode())).encode()
        except UnicodeDecodeError:
            continue
        if new != old:
            pieces += [text[at : span.start], new]
            at = span.end
    return b"".join([*pieces, text[at:]])


def _recipients(envelope: Envelope, found: RewriteMap) -> tuple[Address, ...]:
    new = dict[Address, None]()
    for address in envelope.to_remote:
        new |= dict.fromkeys(found.resolve(address))
        if len(new) > _MOST_RECIPIENTS:
            raise ContentRefused(_TOO_MANY, f"the map leads to more than {_MOST_RECIPIENTS}")
    return tuple(new)


def _rewrite_header(found: RewriteMap, content: Path) -> None:
    with opened(content, "content") as file:
        block = read_header(file)
        fields = list(_rewritten(block.fields, found))
        if fields != block.fields:
            with replaced(content) as write:
                write_message(write, fields, file, block.end)


def _rewritten(fields: list[bytes], found: RewriteMap) -> Iterator[bytes]:
    return (rewritten_field(field, found) for field in fields)


@lru_cache(maxsize=16)
def _map(path: Path, *_version: int) -> RewriteMap:
    try:
        text = read_octets(path, _LONGEST_MAP, secret=False).decode()
        return parse_map(text, socket.gethostname())
    except SecretUnusable as error:
        raise RewriteMapUnusable(str(error)) from error
    except UnicodeDecodeError as error:
        raise RewriteMapUnusable(f"{path}: is not UTF-8 text") from error
    except RewriteMapUnusable as error:
        raise RewriteMapUnusable(f"{path}: {error}") from error
