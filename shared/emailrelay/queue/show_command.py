"""The commands ``show`` and ``cat``, which show one message at a time."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from emailrelay import journal_format
from emailrelay.printable import printable
from emailrelay.queue.describe import description
from emailrelay.queue.errors import print_error
from emailrelay.queue.headers import MOST_OCTETS, HeaderField, field, header_fields
from emailrelay.queue.place import look
from emailrelay.queue.row import QueueRow, row
from emailrelay.queue.selection import parse_id
from emailrelay.queue.view_commands import whole
from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import QueueEntry, QueueView
from emailrelay.terminal.output import OutputClosed, print_as_is, print_json
from emailrelay.terminal.window import window

_TAB = 8
_LONGEST_LINE = 64 * 1024
"""Octets of a content that are shown as one line at a terminal."""


def show(asked: Namespace) -> int:
    """Show all details of messages: header, envelope, tries, replies."""
    status, now = os.EX_OK, time.time()
    with look(asked) as view:
        for message in map(parse_id, asked.ids):
            found = _entry(view, message)
            if found is None:
                whole(view)
                hint = (
                    f"; 'emailrelay-queue trace {message}' looks further" if "@" in message else ""
                )
                status = print_error(f"{message}: no such message{hint}")
            elif asked.json:
                print_json(_as_json(found, _fields(view, message), now))
            else:
                _print(found, _fields(view, message), now, wide=asked.wide)
        whole(view)
    return status


def _entry(view: QueueView, message: QueueId) -> QueueEntry | None:
    return next(view.entries(view.listing(ids=[message])), None)


def _fields(view: QueueView, message: QueueId) -> list[HeaderField]:
    """Return the header fields of a message; of a content that cannot be read, none."""
    beginning = b""
    try:
        for chunk in view.content(message) or ():
            beginning += chunk
            if len(beginning) >= MOST_OCTETS:
                break
    except OSError as error:
        print_error(f"warning: {message}: its header cannot be read: {error.strerror}")
    return header_fields(beginning)


def _print(entry: QueueEntry, fields: Sequence[HeaderField], now: float, *, wide: bool) -> None:
    shown, width = row(entry, now), None if wide else window().width
    if entry.envelope is None:
        print_as_is(printable(f"Message {shown.id}: {shown.state}, {shown.last_reply}"))
        return
    lines = description(shown, entry.envelope, entry.entries, fields, now, width=width)
    for line in lines:
        print_as_is(line)


def _as_json(entry: QueueEntry, fields: list[HeaderField], now: float) -> Mapping[str, object]:
    shown: QueueRow = row(entry, now)
    envelope = entry.envelope
    return asdict(shown) | {
        "subject": field(fields, "Subject"),
        "message_id": field(fields, "Message-ID"),
        "header": fields,
        "client": "" if envelope is None else envelope.client,
        "user": "" if envelope is None else envelope.authentication,
        "journal": list(map(journal_format.encode, entry.entries)),
    }


def cat(asked: Namespace) -> int:
    """Print the contents of messages: octet for octet, or made safe for a terminal."""
    status = os.EX_OK
    with look(asked) as view:
        for message in map(parse_id, asked.ids):
            content = view.content(message)
            if content is None:
                whole(view)
                status = print_error(f"{message}: no such message, or it has no content")
            elif sys.stdout.isatty():
                for line in _lines(content):
                    print_as_is(line)
            else:
                _copy(content)
    return status


def _copy(content: Iterator[bytes]) -> None:
    try:
        sys.stdout.flush()
        for chunk in content:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error


def _lines(content: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines of a content for a terminal: without control characters."""
    rest = b""
    for chunk in content:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(_shown, lines)
        while len(rest) > _LONGEST_LINE:
            yield _shown(rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
    if rest:
        yield _shown(rest)


def _shown(line: bytes) -> str:
    text = line.removesuffix(b"\r").decode(errors="backslashreplace")
    return printable(text.expandtabs(_TAB))
