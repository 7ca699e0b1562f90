"""The protocol of spamd (SpamAssassin): it judges a message, or returns it with marks.

Source: the file PROTOCOL of SpamAssassin. A connection serves one request. We close our side for
writing after the message, as spamd's own client does.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from emailrelay.errors import RelayError
from emailrelay.host_port import HostPort, ServerAddress, UnixPath

_STATUS = re.compile(rb"SPAMD/[0-9.]+ +([0-9]{1,9}) +(.*?)\r?\n")
_SPAM = re.compile(
    r"(true|yes|false|no) *; *(-?[0-9]{1,9}(?:\.[0-9]{0,9})?) */ *(-?[0-9]{1,9}(?:\.[0-9]{0,9})?)",
    re.IGNORECASE,
)
_MOST_HEADERS = 50
_MOST_DIGITS = 18
_ROOM = 64 * 1024 * 1024
"""A marked message can have twice the octets of the content, and so many more."""
_CHUNK = 64 * 1024


class NoJudgement(RelayError):
    """spamd was reached but did not judge the message."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """spamd's judgement of a message."""

    spam: bool
    score: float
    threshold: float


async def check(place: ServerAddress, size: int, message: Iterable[bytes]) -> Judgement:
    """Ask for the judgement of a message of ``size`` octets.

    Raises:
        OSError: spamd cannot be reached.
        NoJudgement: spamd gives none.

    """
    async with _request(place, "CHECK", size, message) as reader:
        return _judgement(await _headers(reader))


async def process(
    place: ServerAddress, size: int, message: Iterable[bytes], write: Callable[[bytes], object]
) -> None:
    """Ask for the message with marks, and pass it to ``write`` in pieces.

    Raises:
        OSError: spamd cannot be reached.
        NoJudgement: spamd gives none, less than a whole message, or far too much.

    """
    async with _request(place, "PROCESS", size, message) as reader:
        length = _length(await _headers(reader))
        if length > 2 * size + _ROOM:
            raise NoJudgement(f"its message is too large: {length} octets in place of {size}")
        await _body(reader, length, write)
    if not length:
        raise NoJudgement("it gives no message back")


@asynccontextmanager
async def _request(
    place: ServerAddress, command: str, size: int, message: Iterable[bytes]
) -> AsyncGenerator[asyncio.StreamReader]:
    """Send a request; yield the reader of its answer."""
    reader, writer = await _connect(place)
    try:
        writer.write(f"{command} SPAMC/1.2\r\nContent-length: {size}\r\n\r\n".encode())
        for chunk in message:
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        yield reader
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise NoJudgement("it closed the connection early") from error
    except asyncio.LimitOverrunError as error:
        raise NoJudgement("its answer is an endless line") from error
    finally:
        writer.transport.abort()


async def _headers(reader: asyncio.StreamReader) -> Mapping[str, str]:
    first = await reader.readuntil(b"\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise NoJudgement(f"that is not spamd: {first[:80]!r}")
    if int(status[1]) != 0:
        # EX_TIMEOUT (79) and others, numbered as in sysexits.h.
        raise NoJudgement(f"it says {status[1].decode()} {status[2].decode(errors='replace')}")
    headers: dict[str, str] = {}
    while (line := await reader.readuntil(b"\n")).strip():
        if len(headers) >= _MOST_HEADERS:
            raise NoJudgement("its answer has no end of header")
        name, _, value = line.decode(errors="replace").partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise NoJudgement(f"its Content-length is {text[:80]!r}")
    return int(text)


def _judgement(headers: Mapping[str, str]) -> Judgement:
    match = _SPAM.match(headers.get("spam", ""))
    if match is None:
        raise NoJudgement("its answer has no Spam: line")
    spam = match[1].lower() in {"true", "yes"}
    return Judgement(spam, float(match[2]), float(match[3]))


async def _body(
    reader: asyncio.StreamReader, length: int, write: Callable[[bytes], object]
) -> None:
    left = length
    while left:
        chunk = await reader.read(min(left, _CHUNK))
        if not chunk:
            raise NoJudgement(f"it gave only {length - left} of {length} octets back")
        write(chunk)
        left -= len(chunk)


async def _connect(place: ServerAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    match place:
        case HostPort(host, port):
            return await asyncio.open_connection(host, port)
        case UnixPath(path):
            return await asyncio.open_unix_connection(path)
