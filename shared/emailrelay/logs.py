"""Writes each event as one line to standard output; errors of the log never stop mail."""

import asyncio
import logging
import os
import select
import stat
import sys
import time
from _thread import RLock
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from emailrelay import systemd_journal
from emailrelay.address_mask import Masking, masking
from emailrelay.compact_json import json_writer
from emailrelay.config import LogFormat, Settings
from emailrelay.events.event import TIME_FIELDS, Event, Level, Report
from emailrelay.events.log import LibraryTrouble, LinesDropped
from emailrelay.log_throttle import LogThrottle
from emailrelay.own_pid import own_pid
from emailrelay.printable import printable
from emailrelay.systemd_journal import leads_to_journal
from emailrelay.turn_end import at_turn_end

FIELD_LIMIT = 1024
"""The most characters of a field. A longer text is cut, with a mark."""

ADDRESS_LIMIT = 254
"""The most characters of an address in a list; RFC 5321 section 4.5.3.1.3 allows no more."""

_TOGETHER = 4096
"""The most octets that are written at once: a pipe has room for as many when it has any.

A write of more would wait until its reader has made room, maybe for ever.
"""
_MOST_WAITING = 64
"""Events whose lines wait for the end of a turn of the loop."""
_PATIENCE = 100
"""The most milliseconds that a line waits for a slow reader."""


_PREFIXES = {
    Level.DEBUG: systemd_journal.DEBUG.encode(),
    Level.INFO: systemd_journal.INFO.encode(),
    Level.WARNING: systemd_journal.WARNING.encode(),
    Level.ERROR: systemd_journal.ERROR.encode(),
}

_written_json = json_writer(ascii_only=False)

LogLine: TypeAlias = MutableMapping[str, Any]
Render: TypeAlias = Callable[[Any, str, LogLine], str | bytes]
"""A structlog renderer."""


also: Report | None = None
"""Takes all events first, beside the log: the legacy command sets it in its services."""


def reporter(settings: Settings) -> Report:
    """Return the log of a service: standard output in its format, behind a ``LogThrottle``.

    Warnings of libraries to Python's logging become events of the same log.
    """
    log_format = settings.log_format
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if sys.stdout.isatty() else LogFormat.JSON
    journal = leads_to_journal(1)
    lines = line_reporter(
        service=settings.service,
        render=renderer(log_format),
        # The journal adds its own times, and takes the importance from the line.
        timed=not journal,
        least=Level.DEBUG if settings.verbose or settings.debug else Level.INFO,
        descriptor=1,
        prioritised=journal,
        masking=masking(settings.log_mail_addresses),
    )
    report = LogThrottle(lines, time.monotonic, _after)
    logging.basicConfig(handlers=[_LibraryHandler(report)], format="%(message)s")
    return report


def _after(seconds: float, act: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # this thread has no event loop
        asyncio.get_running_loop().call_later(seconds, act)


def renderer(log_format: LogFormat) -> Render:
    """Return the renderer of a format."""
    match log_format:
        case LogFormat.LOGFMT:
            from structlog.processors import LogfmtRenderer  # noqa: PLC0415 -- see _json

            return _for_people(LogfmtRenderer())
        case LogFormat.CONSOLE:
            from structlog.dev import ConsoleRenderer  # noqa: PLC0415 -- see _json

            return _for_people(ConsoleRenderer(sort_keys=False, colors=sys.stdout.isatty()))
        case LogFormat.JSON | LogFormat.AUTO:
            return _json


def _for_people(render: Render) -> Render:
    """Render times in the form of the line's timestamp, and lists with commas."""

    def render_line(logger: object, name: str, line: LogLine) -> str | bytes:
        for field in TIME_FIELDS & line.keys():
            moment = line[field]
            if isinstance(moment, float):
                with suppress(OverflowError, ValueError, OSError):  # past the end of the calendar
                    day = datetime.fromtimestamp(moment, UTC)
                    line[field] = _written(day.replace(microsecond=0))
        if "to" in line:
            line["to"] = ", ".join(line["to"])
        return render(logger, name, line)

    return render_line


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _json(_logger: object, _name: str, line: LogLine) -> str:
    """Render a line as JSON. This usual format needs no structlog, which would import rich."""
    return _written_json(line)


def line_reporter(
    *,
    service: str,
    render: Render,
    timed: bool,
    least: Level,
    descriptor: int,
    prioritised: bool = False,
    masking: Masking | None = None,
) -> Report:
    """Return a function that writes one line for each event to a descriptor and never raises.

    ``prioritised``: each line begins with its importance, for systemd's journal. ``masking`` is
    applied before any log sees an event. Events below ``least`` cost nothing. Several threads, and
    both sides of a fork, may use the function: only a line of more than ``_TOGETHER`` octets is
    divided between two writes.
    """
    levels = list(Level)
    names = {level: level.value for level in levels[levels.index(least) :]}

    def line_of(event: Event, moment: datetime | None) -> bytes:
        line: LogLine = {}
        if moment is not None:
            line["timestamp"] = _written(moment)
        line["level"], line["event"] = names[event.level], event.name
        line["service"], line["pid"] = service, own_pid()
        line.update(_fields(event))
        text = render(None, "", line)
        octets = text.encode() if isinstance(text, str) else text
        return _PREFIXES[event.level] + octets if prioritised else octets

    output = _Output(descriptor, line_of)

    def report(event: Event) -> None:
        if event.level not in names:
            return
        if masking is not None:
            event = masking(event)
        if also is not None:
            also(event)
        if output.write(event, datetime.now(UTC) if timed else None) and output.dropped:
            dropped, output.dropped = output.dropped, 0
            report(LinesDropped(lines=dropped))

    return report


def _fields(event: Event) -> dict[str, object]:
    """Return the fields of a line; see ``field_value``."""
    fields: dict[str, object] = {name: getattr(event, name) for name in event.shown()}
    texts = "".join([each for each in fields.values() if type(each) is str])
    plain = len(texts) <= FIELD_LIMIT and texts.isprintable()  # nearly always: seen at once
    for name, value in fields.items():
        kind = type(value)
        if kind is not int and not (plain and kind is str):
            fields[name] = round(value, 6) if isinstance(value, float) else field_value(value)
    return fields


def field_value(value: object) -> object:
    """Return a field for a line: of bounded length, and without control characters."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, tuple):
        return [_bounded(str(each), ADDRESS_LIMIT) for each in cast("tuple[object, ...]", value)]
    return _bounded(str(value), FIELD_LIMIT)


def _bounded(text: str, limit: int) -> str:
    if len(text) > limit:
        mark = f"... ({len(text)} characters)"
        text = text[: limit - len(mark)] + mark
    return printable(text)


class _Output:
    """A descriptor for the lines of events. Threads may share it.

    A write never waits long; lines that cannot be written are counted. Events that may wait for the
    end of this turn of the event loop become lines there, which are written together: so a client
    has its reply before.
    """

    def __init__(self, descriptor: int, line_of: Callable[[Event, datetime | None], bytes]) -> None:
        """``line_of`` gives the line of an event with its time, if lines have one."""
        self.dropped = 0
        self._descriptor = descriptor
        self._line_of = line_of
        self._torn = False
        self._has_reader = not _is_file(descriptor)
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._gathered: list[tuple[Event, datetime | None]] = []
        self._guard = RLock()  # a renderer may report as well

    def write(self, event: Event, moment: datetime | None) -> bool:
        """Write the line of an event, behind those that wait; return whether that succeeded.

        One that ``waits`` is written at the end of this turn of the loop at the latest.
        """
        with self._guard:
            self._gathered.append((event, moment))
            waiting = len(self._gathered)
            if not event.batched or self.dropped or waiting >= _MOST_WAITING:
                return self._write_gathered()
        if waiting == 1:
            at_turn_end(self.write_gathered)
        return True

    def write_gathered(self) -> None:
        """Write the lines that wait."""
        with self._guard:
            self._write_gathered()

    def _write_gathered(self) -> bool:
        gathered, self._gathered = self._gathered, []
        lines: list[bytes] = []
        size, written = 0, True
        for event, moment in gathered:
            line = self._line_of(event, moment)
            size += len(line) + 1
            if size > _TOGETHER:
                written = self._write(lines) and written
                lines, size = [], len(line) + 1
            lines.append(line)
        return self._write(lines) and written

    def _write(self, lines: Sequence[bytes]) -> bool:
        if not lines:
            return True
        octets = b"\n" * self._torn + b"\n".join(lines) + b"\n"
        written = self._written(octets)
        missing = min(len(lines), octets.count(b"\n", written))
        self._torn = not octets.endswith(b"\n", 0, written) if written else self._torn
        self.dropped += missing
        return not missing

    def _written(self, octets: bytes) -> int:
        """Write octets as far as the reader takes them; return how many these are."""
        if not self._has_reader:
            return self._write_piece(octets)
        # Other processes share the descriptor, so it cannot be made non-blocking. Only the first of
        # many lines waits for a blocked reader.
        written, patience = 0, 0 if self.dropped else _PATIENCE
        while written < len(octets) and self._room.poll(patience):
            piece = self._write_piece(octets[written : written + _TOGETHER])
            if not piece:
                break
            written, patience = written + piece, 0
        return written

    def _write_piece(self, octets: bytes) -> int:
        try:
            return os.write(self._descriptor, octets)
        except OSError:
            return 0


def _is_file(descriptor: int) -> bool:
    """Tell if a descriptor is that of a regular file, where no write waits for a reader."""
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # it is closed: each line is dropped
        return False


class _LibraryHandler(logging.Handler):
    """Turns log records of libraries into events."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler.emit``."""
        self._report(LibraryTrouble(library=record.name, text=self.format(record)))
