"""Runs the filters that are not started for each message: servers, and those that ship."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from emailrelay.errors import DamagedMessage
from emailrelay.filters import editing, spamd
from emailrelay.filters.connections import NoFilterAnswer
from emailrelay.filters.copy import FilterCopy, FilteredMail
from emailrelay.filters.milter import milter
from emailrelay.filters.milter.packets import MilterError
from emailrelay.filters.pipe import NoPipeAnswer
from emailrelay.filters.program import Programs
from emailrelay.filters.result import opened, spoilt
from emailrelay.filters.shipped import mx
from emailrelay.filters.shipped.header_block import ContentRefused
from emailrelay.filters.shipped.parameters import MxFilter, PipeFilter, Shipped, Worked
from emailrelay.filters.shipped.work import work
from emailrelay.filters.spec import MessageIdFilter, MilterFilter, NetFilter, SpamFilter
from emailrelay.filters.verdict import Accept, BrokenFilter, Side, Verdict, from_line, rejection
from emailrelay.filters.waits import FilterTooLate
from emailrelay.reply import Reply
from emailrelay.running_loop import running_loop

_SPAM = Reply(550, "5.7.1 message looks like spam")

Served: TypeAlias = NetFilter | SpamFilter | MilterFilter | MessageIdFilter | Shipped
_TimedAsWhole: TypeAlias = SpamFilter | MilterFilter | MessageIdFilter | MxFilter | Worked
_MOST_TIME = 10
"""A milter that asks for more time gets so many times the time limit in all."""


async def run(
    one: Served, copy: FilterCopy, mail: FilteredMail, side: Side, programs: Programs
) -> Verdict:
    """Run one on a message; if it fails, the verdict is trouble, and the mail waits.

    ``programs`` has the connections of these filters, and the seconds that each may take.
    """
    seconds = programs.limits.timeout
    try:
        if isinstance(one, NetFilter | PipeFilter):
            return await _ask(one, copy, side, programs, until=running_loop().time() + seconds)
        return await _run_within(one, copy, mail, side, programs)
    except FilterTooLate:
        return BrokenFilter(reason=f"no verdict within {seconds:g} s")
    except DamagedMessage as error:
        return spoilt(error)
    except ContentRefused as error:
        return rejection(error.reply, str(error), side)
    except (
        NoFilterAnswer,
        NoPipeAnswer,
        spamd.NoJudgement,
        MilterError,
        mx.MxUnknown,
    ) as error:
        return BrokenFilter(reason=str(error))
    except OSError as error:
        return BrokenFilter(reason=f"cannot be used: {error.strerror or error}")


async def _ask(
    one: NetFilter | PipeFilter, copy: FilterCopy, side: Side, programs: Programs, *, until: float
) -> Verdict:
    """Give a filter the path of the content; it answers with a line."""
    line = os.fsencode(copy.content_path) + b"\n"
    if isinstance(one, PipeFilter):
        answer = await programs.pipes.ask(one, line, until)
    else:
        answer = await programs.connections.ask(one.place, line, until)
    return from_line(answer.decode(errors="replace").rstrip("\r"), side)


async def _run_within(
    one: _TimedAsWhole, copy: FilterCopy, mail: FilteredMail, side: Side, programs: Programs
) -> Verdict:
    limit = asyncio.timeout(programs.limits.timeout)
    try:
        async with limit:
            return await _run(one, copy, mail, side, programs, limit=limit)
    except OSError as error:
        if limit.expired():
            raise FilterTooLate(str(error)) from error
        raise


async def _run(
    one: _TimedAsWhole,
    copy: FilterCopy,
    mail: FilteredMail,
    side: Side,
    programs: Programs,
    *,
    limit: asyncio.Timeout,
) -> Verdict:
    match one:
        case MxFilter():
            await mx.route(one, copy, mail)
            return Accept()
        case SpamFilter(edit=True):
            await _mark(one, copy.content)
            return Accept()
        case SpamFilter():
            return await _judge(one, copy.content, side)
        case MilterFilter(place):
            more_time = _more_time(limit, programs.limits.timeout)
            return await milter.run(
                place,
                copy,
                about=mail,
                side=side,
                connections=programs.milters,
                on_progress=more_time,
            )
        case MessageIdFilter():
            await asyncio.to_thread(editing.add_message_id, copy.content, mail)
            return Accept()
        case _:
            return await asyncio.to_thread(work, one, copy, mail.id)


def _more_time(limit: asyncio.Timeout, seconds: float) -> Callable[[], None]:
    """Return a function that begins the time limit anew, up to a bound for all of it."""
    loop = running_loop()
    last = loop.time() + _MOST_TIME * seconds
    return lambda: limit.reschedule(min(loop.time() + seconds, last))


async def _judge(one: SpamFilter, content: Path, side: Side) -> Verdict:
    with opened(content, "content") as file:
        size = os.fstat(file.fileno()).st_size
        judgement = await spamd.check(one.place, size, editing.chunks(file))
    if not judgement.spam:
        return Accept()
    reason = f"spam: {judgement.score:g} of {judgement.threshold:g} points"
    return rejection(_SPAM, reason, side)


async def _mark(one: SpamFilter, content: Path) -> None:
    with opened(content, "content") as file, editing.replaced(content) as write:
        size = os.fstat(file.fileno()).st_size
        # spamd ends its own lines with LF.
        marked = editing.with_crlf(write)
        await spamd.process(one.place, size, editing.chunks(file), marked)
