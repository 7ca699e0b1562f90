"""The commands of the administration interface: what each does and answers."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from emailrelay.classic.log_lines import Line, Severity
from emailrelay.classic.supervisor import Supervisor
from emailrelay.config import version
from emailrelay.errors import DamagedMessage, RelayError
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store

Answer = AsyncIterator[str]

_QUEUED = (Stage.UNFILTERED, Stage.READY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """What commands work on."""

    store: Store
    supervisor: Supervisor
    may_terminate: bool

    async def answer(self, line: str) -> Answer:
        """Obey one line; yield the lines of the answer."""
        words = tuple(line.lower().split())
        command = _COMMANDS.get(words)
        if command is None:
            yield f"error: unknown command {ascii(line)[:60]}; help lists those there are"
            return
        try:
            async for text in command.act(self):
                yield text
        except RelayError as error:
            yield f"error: {error}"


@dataclass(frozen=True, slots=True)
class _Command:
    text: str
    act: Callable[[Admin], Answer]


async def _help(_admin: Admin) -> Answer:
    yield "commands:"
    for words, command in _COMMANDS.items():
        yield f"  {' '.join(words):<14}{command.text}"
    yield f"  {'quit':<14}close this connection"


async def _flush(admin: Admin) -> Answer:
    if not admin.supervisor.can_forward:
        yield "error: there is nowhere to forward to (--forward-to)"
        return
    async for _ in admin.store.listing((Stage.READY,)):
        break
    else:
        yield "error: no messages to send"
        return
    told: list[str] = []

    def note(line: Line) -> None:
        if line.severity is not Severity.INFO:
            told[:] = [line.text]

    status = await admin.supervisor.forward_once(note)
    if status == 0:
        yield "OK"
    else:
        yield f"error: {told[0] if told else 'some messages could not be forwarded'}"


async def _forward(admin: Admin) -> Answer:
    yield (
        "OK"
        if admin.supervisor.forward()
        else "error: there is nowhere to forward to (--forward-to)"
    )


async def _list(admin: Admin) -> Answer:
    none = True
    for message in await _sorted(admin.store, *_QUEUED):
        none = False
        yield f"emailrelay.{message}"
    if none:
        yield "<none>"


async def _failures(admin: Admin) -> Answer:
    none = True
    for message in await _sorted(admin.store, Stage.FAILED):
        none = False
        yield f"emailrelay.{message} {await _reason(admin.store, message)}".rstrip()
    if none:
        yield "<none>"


async def _unfail_all(admin: Admin) -> Answer:
    for message in await _sorted(admin.store, Stage.FAILED):
        await admin.store.retry(message)
    yield "OK"


async def _status(admin: Admin) -> Answer:
    counts = dict.fromkeys(Stage, 0)
    async for listed in admin.store.listing():
        counts[listed.stage] += 1
    yield f"E-MailRelay {version()}, process {os.getpid()}"
    yield "messages: " + ", ".join(f"{count} {stage.value}" for stage, count in counts.items())
    for name, running in admin.supervisor.state().items():
        yield f"{name}: {'running' if running else 'stopped'}"


async def _pid(_admin: Admin) -> Answer:
    yield str(os.getpid())


async def _enable(admin: Admin) -> Answer:
    yield "OK" if await admin.supervisor.take_mail(wanted=True) else "error: there is no receiver"


async def _disable(admin: Admin) -> Answer:
    yield "OK" if await admin.supervisor.take_mail(wanted=False) else "error: there is no receiver"


async def _terminate(admin: Admin) -> Answer:
    if admin.may_terminate:
        admin.supervisor.stop.set()
        yield "OK"
    else:
        yield "error: not allowed here (--admin-terminate)"


async def _sorted(store: Store, *stages: Stage) -> list[QueueId]:
    """Give ids by arrival: their groups are numbers."""
    found = [listed.id async for listed in store.listing(stages)]
    return sorted(found, key=lambda message: [int(group) for group in message.split(".")])


async def _reason(store: Store, message: QueueId) -> str:
    try:
        known = await store.describe(message)
    except DamagedMessage as error:
        return str(error)
    failed = known[2].failed if known else None
    return str(failed.reason) if failed else ""


_COMMANDS: Mapping[tuple[str, ...], _Command] = MappingProxyType(
    {
        ("help",): _Command("show this", _help),
        ("flush",): _Command("forward every message now, and wait for the outcome", _flush),
        ("forward",): _Command("forward every message now, without waiting", _forward),
        ("list",): _Command("messages to be forwarded", _list),
        ("failures",): _Command("messages that failed, with the reason", _failures),
        ("unfail-all",): _Command("try all failed messages again", _unfail_all),
        ("status",): _Command("what is running, and how many messages there are", _status),
        ("pid",): _Command("the number of the process", _pid),
        ("smtp", "enable"): _Command("take mail in again", _enable),
        ("smtp", "disable"): _Command("take no mail in", _disable),
        ("terminate",): _Command("end the server", _terminate),
    }
)
