"""The log: each event becomes one line on standard output, and no trouble with it stops mail."""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias

from structlog.dev import ConsoleRenderer
from structlog.processors import JSONRenderer, LogfmtRenderer, TimeStamper
from structlog.typing import EventDict

from emailrelay.config import LogFormat, Settings
from emailrelay.events import Event, Level, Report

FIELD_LIMIT = 1024
"""No text in a line is longer than this, in characters; what is beyond is cut off and marked."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

Renderer: TypeAlias = Callable[[Any, str, EventDict], Any]


def reporter(settings: Settings) -> Report:
    """Return where a service's events go: standard output, as the settings say."""
    log_format = settings.log_format
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if sys.stdout.isatty() else LogFormat.JSON
    return line_reporter(
        service=settings.service,
        render=_renderer(log_format),
        # systemd's journal has its own clock and sets this for what it reads.
        timed="JOURNAL_STREAM" not in os.environ,
        least=Level.DEBUG if settings.verbose or settings.debug else Level.INFO,
        descriptor=1,
    )


def line_reporter(
    *, service: str, render: Renderer, timed: bool, least: Level, descriptor: int
) -> Report:
    """Return a function that writes one line an event to a descriptor and never raises."""
    stamp = TimeStamper(fmt="iso", utc=True)
    told = frozenset(list(Level)[list(Level).index(least) :])
    names: dict[type[Event], tuple[str, tuple[str, ...]]] = {}

    def report(event: Event) -> None:
        if event.level not in told:
            return
        kind = type(event)
        if kind not in names:
            names[kind] = event_name(kind), tuple(field.name for field in fields(kind))
        name, keys = names[kind]
        line: EventDict = {"event": name, "level": event.level.value, "service": service}
        line["pid"] = os.getpid()
        for key in keys:
            line[key] = printable(getattr(event, key))
        if timed:
            line = stamp(None, "", line)
        _write(descriptor, f"{render(None, '', line)}\n".encode())

    return report


def event_name(kind: type[Event]) -> str:
    """Return the name of a kind of event in the log: ``WorkerDied`` is ``worker_died``."""
    return _WORD_START.sub("_", kind.__name__).lower()


def printable(value: object) -> object:
    """Return a field as it may stand in a line: bounded, and with no control character in it."""
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    if len(text) > FIELD_LIMIT:
        text = f"{text[:FIELD_LIMIT]}... ({len(text)} characters)"
    return text if text.isprintable() else _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _renderer(log_format: LogFormat) -> Renderer:
    match log_format:
        case LogFormat.LOGFMT:
            return LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
        case LogFormat.CONSOLE:
            return ConsoleRenderer(sort_keys=False)
        case LogFormat.JSON | LogFormat.AUTO:
            return JSONRenderer(serializer=json.dumps, separators=(",", ":"))


def _write(descriptor: int, line: bytes) -> None:
    try:
        os.write(descriptor, line)
    except OSError:
        # A closed pipe or a full disk of the log must not stop mail, and there is nobody to tell.
        return
