"""Runs the filters that are not programs: network filters, spamd, and the built-in Message-ID."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, assert_never

from emailrelay.errors import DamagedMessage
from emailrelay.filters import editing, net, spamd
from emailrelay.filters.connections import Connections, NoFilterAnswer
from emailrelay.filters.result import opened, spoilt
from emailrelay.filters.spec import MessageIdFilter, NetFilter, SpamFilter
from emailrelay.filters.verdict import Accept, BrokenFilter, Side, Verdict, from_line, rejection
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply

_SPAM = Reply(550, "5.7.1 message looks like spam")

Served: TypeAlias = NetFilter | SpamFilter | MessageIdFilter


@dataclass(frozen=True, slots=True)
class Servers:
    """The connections of these filters, and the seconds that each may take."""

    connections: Connections
    timeout: float

    async def run(self, one: Served, content: Path, message: QueueId, side: Side) -> Verdict:
        """Run one on a content; if it fails, the verdict is trouble, and the mail waits."""
        limit = asyncio.timeout(self.timeout)
        try:
            async with limit:
                return await self._run(one, content, message, side)
        except DamagedMessage as error:
            return spoilt(error)
        except (NoFilterAnswer, spamd.NoJudgement) as error:
            return BrokenFilter(reason=str(error))
        except OSError as error:
            if limit.expired():
                return BrokenFilter(reason=f"no verdict within {self.timeout:g} s")
            return BrokenFilter(reason=f"cannot be used: {error.strerror or error}")

    async def _run(self, one: Served, content: Path, message: QueueId, side: Side) -> Verdict:
        match one:
            case NetFilter(place):
                return from_line(await net.ask(self.connections, place, content), side)
            case SpamFilter(edit=True):
                await _mark(one, content)
                return Accept()
            case SpamFilter():
                return await _judge(one, content, side)
            case MessageIdFilter():
                await asyncio.to_thread(editing.add_message_id, content, message)
                return Accept()
            case _:
                assert_never(one)


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
