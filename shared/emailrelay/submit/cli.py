"""``emailrelay-submit``, ``sendmail``, ``mailq``: one command under several names.

Programs start it for every message they send, so it imports little, and some of that late.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from emailrelay import spool_dir, spool_owner
from emailrelay.envelope import Address
from emailrelay.errors import StoreError, reason_of
from emailrelay.printable import printable
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.standard_streams import drop_output, mention, prepare_streams
from emailrelay.store.quick_chooser import begin_submission
from emailrelay.store.submission import SubmissionRefused
from emailrelay.submit.arguments import Arguments, Personality, UsageError, parse
from emailrelay.submit.composing import Mail, compose
from emailrelay.submit.message import DataError, NoInput

PROGRAM = "emailrelay-submit"
_HELP = """\
usage: emailrelay-submit [OPTION]... [RECIPIENT]... < MESSAGE
Put a message into the spool; the forwarder sends it on.

  -t                   take the recipients from To:, Cc: and Bcc:
  -i, -oi              a line with only a dot does not end the message
  -f, -r, --from ADDRESS
                       the sender that failures are reported to; <> for none
  -F NAME              the full name for a From: line that has to be added
  --domain NAME        the domain of addresses that have none
                       [$EMAILRELAY_DOMAIN, /etc/mailname, this host's name]
  -bs                  speak SMTP on standard input and output
  -bp                  show the queue (also when called as mailq)
  -s, --spool-dir DIR  the spool directory [$EMAILRELAY_SPOOL_DIR; spool_dir in the file that
                       $EMAILRELAY_CONFIG names; /var/spool/emailrelay if it is there;
                       /usr/local/var/spool/emailrelay]
  --port N             the receiver on localhost, for users without write access
                       to the spool [25]
  -v, --verbose        print the path of the message's content
  --help, --version

Exit status: 0 the message is on stable storage; 64 usage; 65 no message; 66 standard
input cannot be read, or no spool; 69 refused by the receiver; 75 try again later;
77 the spool may not be read.
"""
_WAYS = "join the spool's group, or start emailrelay-receiver on this host (--port N)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status (sysexits.h)."""
    prepare_streams()
    program = os.path.basename(sys.argv[0])
    try:
        arguments = parse(program, sys.argv[1:] if argv is None else argv)
        return _run(arguments)
    except UsageError as error:
        return _complain(str(error), os.EX_USAGE)
    except DataError as error:
        return _complain(str(error), os.EX_DATAERR)
    except NoInput as error:
        return _complain(str(error), os.EX_NOINPUT)
    except (OSError, StoreError) as error:
        drop_output()
        return _complain(f"{reason_of(error)}; try again later", os.EX_TEMPFAIL)


def _complain(text: str, status: int) -> int:
    """Say on standard error what is wrong; give the exit status back."""
    with suppress(OSError):  # nobody listens; the status tells
        sys.stderr.write(f"{PROGRAM}: {printable(text)}\n")
    return status


def _run(arguments: Arguments) -> int:
    match arguments.personality:
        case Personality.SUBMIT:
            return _submit(arguments)
        case Personality.SESSION:
            return _session(arguments)
        case Personality.MAILQ:
            return _mailq(_root(arguments))
        case Personality.NEWALIASES:
            return os.EX_OK  # there is no table of aliases to build
        case Personality.HELP:
            sys.stdout.write(_HELP)
            return os.EX_OK
        case Personality.VERSION:
            from importlib.metadata import version  # noqa: PLC0415 - 20 ms that only this needs

            sys.stdout.write(f"{PROGRAM} {version('emailrelay')}\n")
            return os.EX_OK


def _root(arguments: Arguments) -> str:
    return arguments.spool_dir or spool_dir.chosen()


def _mailq(root: str) -> int:
    from emailrelay.submit import mailq  # noqa: PLC0415 - only this needs it

    try:
        for line in mailq.lines(root, time.time()):
            sys.stdout.write(f"{printable(line)}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        drop_output()
    except PermissionError as error:
        return _complain(f"{reason_of(error)}; members of the spool's group may", os.EX_NOPERM)
    except (FileNotFoundError, NotADirectoryError) as error:
        return _complain(f"{reason_of(error)}; say --spool-dir DIR", os.EX_NOINPUT)
    return os.EX_OK


def _session(arguments: Arguments) -> int:
    from emailrelay.submit import session  # noqa: PLC0415 - few programs speak SMTP to us

    try:
        return session.hold(_root(arguments), arguments.port)
    except session.NoReceiver as error:
        sys.stdout.write("421 4.3.2 nobody takes mail on this machine now\r\n")
        return _complain(f"{error}; {_WAYS}", os.EX_TEMPFAIL)


def _submit(arguments: Arguments) -> int:
    if not arguments.recipients and not arguments.from_header:
        raise UsageError("say who is to get the message, or -t")
    mail = compose(arguments, sys.stdin.buffer)
    try:
        # Root's Python may stand where the owner cannot read it: what this takes is imported already.
        with spool_owner.acting(_root(arguments), imports=False):
            return _put(arguments, mail)
    except SubmissionRefused as error:
        return _send(mail, arguments.port, str(error))


def _put(arguments: Arguments, mail: Mail) -> int:
    submission = begin_submission(_root(arguments), _new_ids())
    try:
        submission.write(mail.content(submission.id))
        submission.commit(mail.sender, mail.recipients)
    except BaseException:  # an interrupt as well: the caller does not know yet that it was taken
        submission.discard()
        raise
    if arguments.verbose:
        mention(submission.path)
    return os.EX_OK


def _new_ids() -> Callable[[], QueueId]:
    """Return the ids of this process, drawn as ``secrets`` does, whose import would take too long."""
    ids = QueueIds(int.from_bytes(os.urandom(8)) % (1 << PROCESS_BITS))
    return lambda: ids.next(time.time())


def _send(mail: Mail, port: int, why: str) -> int:
    """Go through the receiver, since the spool is closed to this user."""
    from emailrelay.submit import by_smtp  # noqa: PLC0415 - 30 ms that members of the group save

    message_id = _new_ids()()
    try:
        by_smtp.send(port, mail.sender, mail.recipients, b"".join(mail.content(message_id)))
    except by_smtp.ReceiverNotReached as error:
        return _complain(f"{why}, and {error}; {_WAYS}", os.EX_TEMPFAIL)
    except by_smtp.NotTaken as error:
        if error.permanent:
            return _complain(f"refused: {error}", os.EX_UNAVAILABLE)
        return _complain(f"not taken now: {error}; try again later", os.EX_TEMPFAIL)
    except by_smtp.TakenInPart as error:
        return _part(error.taken, error.missed, str(error))
    return os.EX_OK


def _part(taken: Sequence[Address], missed: Sequence[Address], reason: str) -> int:
    """Tell who gets the message and who does not; the status is one that nobody tries again after."""
    for address in taken:
        _complain(f"taken: {address}", 0)
    for address in missed:
        _complain(f"not taken: {address}", 0)
    have = "1 recipient gets" if len(taken) == 1 else f"{len(taken)} recipients get"
    return _complain(
        f"{have} the message, {len(missed)} do not: {reason}; "
        "send it again to those of 'not taken' only",
        os.EX_UNAVAILABLE,
    )
