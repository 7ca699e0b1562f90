"""Runs several filters in turn on one work copy, up to the first that does not accept."""

import asyncio
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.filters import servers
from emailrelay.filters.copy import FilterCopy, FilteredMail, LateCopy, Original
from emailrelay.filters.program import (
    Broken,
    Exited,
    ProgramNotStarted,
    ProgramResult,
    Programs,
    Signalled,
    TimedOut,
)
from emailrelay.filters.result import read_envelope, read_result, spoilt, untouched
from emailrelay.filters.shipped import splitting
from emailrelay.filters.shipped.envelope_edit import write_envelope
from emailrelay.filters.shipped.parameters import SplitFilter
from emailrelay.filters.spec import (
    ExitFilter,
    Filter,
    MilterFilter,
    ProgramFilter,
)
from emailrelay.filters.verdict import (
    Abandon,
    Accept,
    BrokenFilter,
    Reject,
    Side,
    Spoken,
    Verdict,
    from_exit_code,
)
from emailrelay.queue_id import QueueId

_MOST_OF_ERROR = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Filters in their order, all of one side."""

    filters: Sequence[Filter]
    side: Side
    programs: Programs

    async def run(
        self,
        copy: FilterCopy,
        *,
        message: QueueId,
        dsn: DsnRequest = NO_REQUEST,
        original: Original | None = None,
    ) -> Spoken:
        """Run the filters; after an ``Accept``, content and envelope may be used as they are now.

        Recipients that a server filter refused are in the envelope again: the message ends with
        a notice about them. With an ``original``, a copy of it that no filter has touched is not
        read. Cancelled, it ends the program that is running, with all in its group.

        Raises:
            StoreError: there is no room for a copy that is made late.

        """
        try:
            mail = FilteredMail(message, self.programs.host, dsn)
            return await self._ended(copy, await self._judged(copy, mail, original))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 -- as in ``_run_one``
            return Spoken(_unexpected(error), self._last)

    async def _ended(self, copy: FilterCopy, spoken: Spoken) -> Spoken:
        """Leave the files of a copy as the next service gets them."""
        if isinstance(spoken.verdict, Accept) and spoken.verdict.refused and self._server:
            spoken = await asyncio.to_thread(_with_refused, copy, spoken)
        if not any(isinstance(one, SplitFilter) for one in self.filters):
            return spoken
        keep = isinstance(spoken.verdict, Accept | Abandon)
        try:
            await asyncio.to_thread(splitting.name_parts, copy, keep=keep)
        except OSError as error:
            return Spoken(BrokenFilter(reason=f"split: {error.strerror}"), spoken.filter)
        return spoken

    async def _judged(
        self, copy: FilterCopy, mail: FilteredMail, original: Original | None
    ) -> Spoken:
        accepted = Accept()
        for one in self.filters:
            verdict = _joined(accepted, await self._run_one(one, copy, mail))
            if not isinstance(verdict, Accept):
                return Spoken(verdict, str(one))
            accepted = verdict
        return Spoken(_checked(accepted, _problem(copy, original)), self._last)

    def at_once(self, envelope: Envelope, size: int) -> Spoken | None:
        """Return the verdict of a chain of ``exit:N`` only, which needs no copy.

        None: use ``run``.
        """
        accepted = Accept()
        for one in self.filters:
            if not isinstance(one, ExitFilter):
                return None
            verdict = _joined(accepted, self._exit(one))
            if not isinstance(verdict, Accept):
                return Spoken(verdict, str(one))
            accepted = verdict
        return Spoken(_checked(accepted, untouched(envelope, size)), self._last)

    @property
    def may_need_no_copy(self) -> bool:
        """Tell if the chain begins with a filter that can read a message without a copy of it."""
        return isinstance(self.filters[0], MilterFilter)

    @property
    def _server(self) -> bool:
        return self.side is Side.SERVER

    @property
    def _last(self) -> str:
        return str(self.filters[-1]) if self.filters else ""

    def _exit(self, one: ExitFilter) -> Verdict:
        return from_exit_code(one.code, b"", self.side)

    async def _run_one(self, one: Filter, copy: FilterCopy, mail: FilteredMail) -> Verdict:
        try:
            return await self._verdict_of(one, copy, mail)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 -- it would end the service at each start anew
            return _unexpected(error)

    async def _verdict_of(self, one: Filter, copy: FilterCopy, mail: FilteredMail) -> Verdict:
        match one:
            case ExitFilter():
                return self._exit(one)
            case ProgramFilter():
                argv = (one.path, copy.content_path, copy.envelope_path)
                return _verdict(await self.programs.run(argv, message=mail.id), self.side)
            case _:
                return await servers.run(one, copy, mail, self.side, self.programs)


def _with_refused(copy: FilterCopy, spoken: Spoken) -> Spoken:
    """Put the recipients that filters refused back into the envelope; raise nothing."""
    try:
        envelope = read_envelope(copy.envelope)
        there = frozenset(envelope.recipients)
        back = [one for one in spoken.verdict.refused if one.address not in there]
        local = (one.address for one in back if one.local)
        remote = (one.address for one in back if not one.local)
        whole = envelope._replace(
            to_local=(*envelope.to_local, *local), to_remote=(*envelope.to_remote, *remote)
        )
        write_envelope(copy, whole)
    except DamagedMessage as error:
        return Spoken(spoilt(error), spoken.filter)
    except OSError as error:
        return Spoken(BrokenFilter(reason=f"envelope: {error.strerror}"), spoken.filter)
    return spoken


def _problem(copy: FilterCopy, original: Original | None) -> object:
    if isinstance(copy, LateCopy) and copy.changed is not None:
        envelope, content = copy.changed
        return untouched(envelope, len(content))
    if original is None or original.touched():
        return read_result(copy)
    return untouched(original.envelope, original.size)


def _unexpected(error: Exception) -> BrokenFilter:
    """Return the verdict after an error that no filter should raise: the mail waits."""
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return BrokenFilter(reason="no thread can be started: this user has too many of them")
    trace = "".join(traceback.format_exception(error))
    return BrokenFilter(reason=f"internal error: {error!r}"[:_MOST_OF_ERROR], bug=trace)


def _verdict(outcome: ProgramResult, side: Side) -> Verdict:
    match outcome:
        case Exited():
            return from_exit_code(outcome.code, outcome.output, side)
        case Signalled():
            return BrokenFilter(reason=f"killed by signal {outcome.number}")
        case TimedOut():
            return BrokenFilter(reason=f"no verdict within {outcome.seconds:g} s")
        case ProgramNotStarted():
            return BrokenFilter(reason=f"cannot execute: {outcome.reason}")
        case Broken():
            return BrokenFilter(reason=f"was killed after an error of the relay: {outcome.reason}")
        case _:
            assert_never(outcome)


def _joined(accepted: Accept, verdict: Verdict) -> Verdict:
    """Return a verdict with the requests of the filters before it."""
    held = accepted.quarantine
    if held is not None and isinstance(verdict, Accept) and verdict.quarantine is None:
        verdict = replace(verdict, quarantine=held)
    if not (accepted.rescan or accepted.stop_run or accepted.refused):
        return verdict
    return replace(
        verdict,
        refused=(*accepted.refused, *verdict.refused),
        rescan=verdict.rescan or accepted.rescan,
        stop_run=verdict.stop_run or accepted.stop_run,
    )


def _checked(accepted: Accept, problem: object) -> Verdict:
    if isinstance(problem, Reject | BrokenFilter):
        return _joined(accepted, problem)
    return accepted
