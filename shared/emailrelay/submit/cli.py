"""``emailrelay-submit``, ``sendmail``, ``mailq``: one command under several names.

Programs start it for every message they send, so it imports little, and some of that late.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from emailrelay import spool_dir, spool_owner
from emailrelay.envelope import Address
from emailrelay.errors import ConfigError, RelayError, StoreError, StoreUnusable, reason_of
from emailrelay.printable import printable
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.settings_file import SettingsFile, SettingsUnreadable
from emailrelay.spool_dir import HostSettings
from emailrelay.standard_streams import drop_output, mention, prepare_streams
from emailrelay.store.quick_chooser import directory_at
from emailrelay.store.quick_submission import begin_submission
from emailrelay.store.submission import SubmissionForbidden, SubmissionRefused
from emailrelay.submit.arguments import PROGRAM, Arguments, OperationMode, UsageError, parse
from emailrelay.submit.composing import Mail, compose
from emailrelay.submit.message import DataError, NoInput
from emailrelay.terminal.error_lines import print_errors, print_interrupted

_WAYS = "join the spool's group, or start emailrelay-receiver on this host (--port N)"


_CLOSED = "421 4.3.2 this machine accepts no mail now\r\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (sysexits.h)."""
    prepare_streams()
    program = os.path.basename(sys.argv[0])
    try:
        arguments = parse(program, sys.argv[1:] if argv is None else argv)
        return _run(arguments)
    except (UsageError, DataError, NoInput) as error:
        return print_errors(PROGRAM, str(error), status=error.status)
    except ConfigError as error:
        # The administrator can correct the file, so programs shall try the message again.
        return print_errors(PROGRAM, f"{error}; correct it and try again", status=os.EX_TEMPFAIL)
    except (OSError, StoreError) as error:
        drop_output()
        return print_errors(PROGRAM, f"{reason_of(error)}; try again later", status=os.EX_TEMPFAIL)
    except KeyboardInterrupt:
        return print_interrupted(PROGRAM, "nothing was confirmed, so try again")


def _run(arguments: Arguments) -> int:
    match arguments.mode:
        case OperationMode.SUBMIT:
            return _submit(arguments)
        case OperationMode.SESSION:
            return _session(arguments)
        case OperationMode.MAILQ:
            return _mailq(arguments)
        case OperationMode.FLUSH:
            return _flush(arguments)
        case OperationMode.NEWALIASES:
            return os.EX_OK  # the aliases are a setting, which needs no database
        case OperationMode.HELP:
            return _print_help()
        case OperationMode.VERSION:
            from emailrelay.terminal.version import print_version  # noqa: PLC0415 - as help

            print_version(PROGRAM, verbose=arguments.verbose)
            return os.EX_OK


def _print_help() -> int:
    from emailrelay.submit.help_text import PAGE  # noqa: PLC0415 - programs never need it
    from emailrelay.terminal.help_page import print_help  # noqa: PLC0415

    print_help(PAGE)
    return os.EX_OK


class _Host(NamedTuple):
    """The settings of this host, as far as this user can read them."""

    settings: HostSettings
    unreadable: SettingsUnreadable | None

    def place(self, arguments: Arguments) -> str:
        """Return the store that the command line or the settings name.

        Raises:
            SettingsUnreadable: the default store may then be one that no service looks at.

        """
        named = _named(arguments)
        if named is None and self.unreadable is not None:
            raise self.unreadable
        return named or self.settings.store


def _named(arguments: Arguments) -> str | None:
    """Return the store that the command line names."""
    return arguments.spool_dir or arguments.store


def _host(arguments: Arguments) -> _Host:
    try:
        return _Host(spool_dir.host_settings(arguments.config), None)
    except SettingsUnreadable as error:
        return _Host(HostSettings(SettingsFile(), os.environ), error)


def _mailq(arguments: Arguments) -> int:
    from emailrelay.submit import mailq  # noqa: PLC0415 - only this needs it

    def show(place: str) -> None:
        for line in mailq.lines(place, time.time()):
            sys.stdout.write(f"{printable(line)}\n")
        sys.stdout.flush()

    return _with_queue(arguments, show)


def _flush(arguments: Arguments) -> int:
    if arguments.recipients or arguments.from_header:
        return _submit(arguments)
    from emailrelay.submit import flush  # noqa: PLC0415 - only this needs it

    return _with_queue(arguments, lambda place: flush.flush(place, PROGRAM))


def _with_queue(arguments: Arguments, act: Callable[[str], None]) -> int:
    """Call ``act`` with the store's directory or URL; return the exit status."""
    try:
        act(_host(arguments).place(arguments))
    except BrokenPipeError:  # the reader has seen enough
        drop_output()
    except SettingsUnreadable as error:
        return print_errors(PROGRAM, str(error), status=os.EX_NOPERM)
    except PermissionError as error:
        return print_errors(
            PROGRAM,
            f"{reason_of(error)}; become a member of the spool's group",
            status=os.EX_NOPERM,
        )
    except StoreUnusable as error:
        return print_errors(PROGRAM, str(error), status=os.EX_NOINPUT)
    except (FileNotFoundError, NotADirectoryError) as error:
        return print_errors(
            PROGRAM, f"{reason_of(error)}; use --spool-dir DIR", status=os.EX_NOINPUT
        )
    return os.EX_OK


def _session(arguments: Arguments) -> int:
    from emailrelay.submit import session  # noqa: PLC0415 - few programs speak SMTP to us

    host = _host(arguments)
    try:
        place: str | None = host.place(arguments)
    except SettingsUnreadable:
        place = None
    try:
        port, named = arguments.port or host.settings.port, _named(arguments) is not None
        return session.hold(place, port, arguments.config, named=named)
    except session.NoReceiver as error:
        sys.stdout.write(_CLOSED)
        return print_errors(PROGRAM, f"{error}; {_WAYS}", status=os.EX_TEMPFAIL)
    except SubmissionRefused as error:
        sys.stdout.write(_CLOSED)
        return _wrong_store(error)


def _submit(arguments: Arguments) -> int:
    if not arguments.recipients and not arguments.from_header:
        raise UsageError("name the recipients, or give -t")
    host = _host(arguments)
    settings = host.settings
    mail = compose(arguments, sys.stdin.buffer, settings.domain, settings.aliases)
    port = arguments.port or settings.port
    try:
        place = host.place(arguments)
        spool = directory_at(place)
        # The spool's owner may be unable to read root's Python, so all imports are done before.
        with nullcontext() if spool is None else spool_owner.acting(spool, imports=False):
            return _put(arguments, place, settings.fallback if ":" in place else None, mail)
    except (SettingsUnreadable, SubmissionForbidden) as error:
        return _send(mail, port, str(error))
    except SubmissionRefused as error:
        if _named(arguments) is not None:  # the receiver would put the message into another store
            return _wrong_store(error)
        return _send(mail, port, str(error))


def _wrong_store(error: RelayError) -> int:
    """Report that the store of the command line is none; programs shall keep the message."""
    advice = "the message was not taken; correct --spool-dir or --store, and try again"
    return print_errors(PROGRAM, f"{error}; {advice}", status=os.EX_TEMPFAIL)


def _put(arguments: Arguments, place: str, fallback: str | None, mail: Mail) -> int:
    submission = begin_submission(place, _new_ids(), fallback)
    try:
        submission.write(mail.content(submission.id))
        submission.commit(mail.sender, mail.recipients, mail.dsn)
    except BaseException:  # an interrupt, too: the message has not been acknowledged yet
        submission.discard()
        raise
    if arguments.verbose:
        mention(submission.path)
    return os.EX_OK


def _new_ids() -> Callable[[], QueueId]:
    """Return the ids of this process, as random as with ``secrets``, whose import is slow."""
    ids = QueueIds(int.from_bytes(os.urandom(8)) % (1 << PROCESS_BITS))
    return lambda: ids.next(time.time())


def _send(mail: Mail, port: int, why: str) -> int:
    """Send through the receiver, because this user has no write access to the store."""
    from emailrelay.submit import by_smtp  # noqa: PLC0415 - 30 ms that members of the group save

    message_id = _new_ids()()
    try:
        content = b"".join(mail.content(message_id))
        by_smtp.send(port, mail.sender, mail.recipients, content, mail.dsn)
    except by_smtp.ReceiverNotReached as error:
        return print_errors(PROGRAM, f"{why}, and {error}; {_WAYS}", status=os.EX_TEMPFAIL)
    except by_smtp.NotTaken as error:
        if error.temporary:
            text = f"not accepted now: {error}; try again later"
            return print_errors(PROGRAM, text, status=os.EX_TEMPFAIL)
        return print_errors(PROGRAM, f"refused: {error}", status=os.EX_UNAVAILABLE)
    except by_smtp.TakenInPart as error:
        return _part(error.taken, error.missed, str(error))
    return os.EX_OK


def _part(taken: Sequence[Address], missed: Sequence[Address], reason: str) -> int:
    """Report the recipients that get the message; the status makes programs not retry all."""
    for address in taken:
        print_errors(PROGRAM, f"taken: {address}")
    for address in missed:
        print_errors(PROGRAM, f"not taken: {address}")
    have = "1 recipient gets" if len(taken) == 1 else f"{len(taken)} recipients get"
    return print_errors(
        PROGRAM,
        f"{have} the message, {len(missed)} do not: {reason}; "
        'send it again only to the addresses listed as "not taken"',
        status=os.EX_UNAVAILABLE,
    )
