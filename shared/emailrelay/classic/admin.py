"""The commands of the administration interface."""

import grp
import os
import pwd
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.service_process import WriteLine
from emailrelay.classic.supervisor import ClassicSupervisor
from emailrelay.config import version
from emailrelay.errors import DamagedMessage, RelayError
from emailrelay.queue_id import QueueId, arrival
from emailrelay.stage import Stage
from emailrelay.store.base import Store

AnswerLines = AsyncIterator[str]

_QUEUED = (Stage.UNFILTERED, Stage.READY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The store, the services and the log, for the commands."""

    store: Store
    supervisor: ClassicSupervisor
    may_terminate: bool
    write: WriteLine
    """Writes to the log."""

    async def answer(self, line: str, *, trusted: bool) -> AnswerLines:
        """Obey one line; yield the lines of the answer.

        A user who is not ``trusted`` can only look.
        """
        words = tuple(line.lower().split())
        command = _COMMANDS.get(words)
        if command is None:
            yield f"error: unknown command {ascii(line)[:60]}; help lists all commands"
            return
        if not (trusted or command.looks):
            yield f"error: {' '.join(words)} is for {_trusted()} only"
            return
        try:
            async for text in command.act(self):
                yield text
        except RelayError as error:
            yield f"error: {error}"
        except Exception as error:  # noqa: BLE001 -- the user and the log get the error
            text = f"administration: {' '.join(words)}: {type(error).__name__}: {error}"
            self.write(ClassicLine(Severity.ERROR, text))
            yield "error: internal error; the log has the details"


def _trusted() -> str:
    """Name the users with all rights; see ``connected_user.belongs_here``."""
    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        user, group = str(os.geteuid()), str(os.getegid())
    return f"root, user {user} and members of group {group}"


@dataclass(frozen=True, slots=True)
class _Command:
    text: str
    act: Callable[[Admin], AnswerLines]
    looks: bool = False
    """It changes nothing and shows nothing private, so all users of this machine may use it."""


async def _help(_admin: Admin) -> AnswerLines:
    yield "commands:"
    for words, command in _COMMANDS.items():
        yield f"  {' '.join(words):<14}{command.text}"
    yield f"  {'quit':<14}close this connection"


async def _flush(admin: Admin) -> AnswerLines:
    if not admin.supervisor.can_forward:
        yield "error: there is no server to forward to (--forward-to)"
        return
    async for _ in admin.store.listing((Stage.READY,)):
        break
    else:
        yield "error: no messages to send"
        return
    trouble: list[str] = []

    def note(line: ClassicLine) -> None:
        if line.severity is not Severity.INFO:
            trouble[:] = [line.text]

    status = await admin.supervisor.forward_once(note)
    if status == 0:
        yield "OK"
    else:
        yield f"error: {trouble[0] if trouble else 'some messages could not be forwarded'}"


async def _forward(admin: Admin) -> AnswerLines:
    yield (
        "OK"
        if admin.supervisor.forward()
        else "error: there is no server to forward to (--forward-to)"
    )


async def _list(admin: Admin) -> AnswerLines:
    queued = await _sorted(admin.store, *_QUEUED)
    for line in [f"emailrelay.{message}" for message in queued] or ["<none>"]:
        yield line


async def _failures(admin: Admin) -> AnswerLines:
    failed = await _sorted(admin.store, Stage.FAILED)
    for message in failed:
        yield f"emailrelay.{message} {await _reason(admin.store, message)}".rstrip()
    if not failed:
        yield "<none>"


async def _unfail_all(admin: Admin) -> AnswerLines:
    for message in await _sorted(admin.store, Stage.FAILED):
        await admin.store.retry(message)
    yield "OK"


async def _status(admin: Admin) -> AnswerLines:
    counts = dict.fromkeys(Stage, 0)
    async for listed in admin.store.listing():
        counts[listed.stage] += 1
    yield f"E-MailRelay {version()}, process {os.getpid()}"
    yield "messages: " + ", ".join(f"{count} {stage.value}" for stage, count in counts.items())
    for name, running in admin.supervisor.state().items():
        yield f"{name}: {'running' if running else 'stopped'}"


async def _pid(_admin: Admin) -> AnswerLines:
    yield str(os.getpid())


async def _enable(admin: Admin) -> AnswerLines:
    yield "OK" if await admin.supervisor.take_mail(wanted=True) else "error: there is no receiver"


async def _disable(admin: Admin) -> AnswerLines:
    yield "OK" if await admin.supervisor.take_mail(wanted=False) else "error: there is no receiver"


async def _terminate(admin: Admin) -> AnswerLines:
    if admin.may_terminate:
        admin.supervisor.stop.set()
        yield "OK"
    else:
        yield "error: not allowed here (--admin-terminate)"


async def _sorted(store: Store, *stages: Stage) -> list[QueueId]:
    """Return the ids of the messages in these stages, in order of arrival."""
    return sorted([listed.id async for listed in store.listing(stages)], key=arrival)


async def _reason(store: Store, message: QueueId) -> str:
    try:
        known = await store.describe(message)
    except DamagedMessage as error:
        return str(error)
    failed = known[2].failed if known else None
    return str(failed.reason) if failed else ""


_COMMANDS: Mapping[tuple[str, ...], _Command] = MappingProxyType(
    {
        ("help",): _Command("show this list", _help, looks=True),
        ("flush",): _Command("forward every message now, and wait for the outcome", _flush),
        ("forward",): _Command("forward every message now, without waiting", _forward),
        ("list",): _Command("messages to be forwarded", _list, looks=True),
        ("failures",): _Command("messages that failed, with the reason", _failures),
        ("unfail-all",): _Command("try all failed messages again", _unfail_all),
        ("status",): _Command("running services and numbers of messages", _status, looks=True),
        ("pid",): _Command("the process id", _pid, looks=True),
        ("smtp", "enable"): _Command("accept mail again", _enable),
        ("smtp", "disable"): _Command("stop accepting mail", _disable),
        ("terminate",): _Command("end the server", _terminate),
    }
)
