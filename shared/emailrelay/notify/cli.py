"""``emailrelay-notify``: tells senders what could not be delivered."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from emailrelay import spool_dir, spool_owner
from emailrelay.errors import StoreError, StoreUnusable, reason_of
from emailrelay.events import Event, Level
from emailrelay.notify.agents import Agent, Locals, Maildir, Program
from emailrelay.notify.notifier import NoticeCount, Notifier
from emailrelay.printable import printable
from emailrelay.standard_streams import drop_output, prepare_streams
from emailrelay.store.chooser import open_store

PROGRAM = "emailrelay-notify"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(os.EX_USAGE, f"{PROGRAM}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status (docs/notify.md)."""
    prepare_streams()
    parser = _parser()
    asked = parser.parse_args(argv)
    try:
        root = Path(asked.spool_dir or asked.directory or spool_dir.chosen())
    except OSError as error:
        return _complain(f"the settings file: {reason_of(error)}", os.EX_CONFIG)
    host = asked.host or os.environ.get("EMAILRELAY_DOMAIN") or socket.gethostname()
    try:
        agent = _agent(asked, host)
    except ValueError as error:
        parser.error(str(error))
    if not root.is_dir():
        return _complain(f"{root}: there is no such spool directory", os.EX_NOINPUT)
    try:
        count = _run(root, host, agent)
    except StoreUnusable as error:
        return _complain(str(error), os.EX_NOINPUT)
    except (StoreError, OSError) as error:
        return _complain(reason_of(error), os.EX_TEMPFAIL)
    try:
        status = _tell(count, verbose=asked.verbose)
        sys.stdout.flush()
    except OSError:  # the notices are sent; nobody reads what is told of them
        drop_output()
        return 1 if count.trouble else os.EX_OK
    return status


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, description="Tell senders what could not be delivered.")
    parser.add_argument("directory", nargs="?", metavar="SPOOL-DIR", help="the spool directory")
    parser.add_argument("-s", "--spool-dir", metavar="DIR", help="the same")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--relay", action="store_true", help="send notices through the spool, as mail")
    way.add_argument("--maildir", type=Path, metavar="DIR", help="put all notices into a maildir")
    way.add_argument(
        "--deliver-with",
        metavar="COMMAND",
        help="run COMMAND with the notice on its input; {user} and {sender} are filled in",
    )
    way.add_argument("--procmail", metavar="PROGRAM", help="run PROGRAM -d USER [procmail]")
    parser.add_argument("-u", "--user", help="this user gets every notice")
    parser.add_argument(
        "--domain",
        action="append",
        default=[],
        metavar="NAME",
        help="a name of this host in addresses",
    )
    parser.add_argument("--host", metavar="NAME", help="this host's name in notices")
    parser.add_argument("-v", "--verbose", action="store_true", help="name each message")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version('emailrelay')}")
    return parser


def _agent(asked: argparse.Namespace, host: str) -> Agent | None:
    if asked.relay:
        return None
    if asked.maildir is not None:
        return Maildir(asked.maildir.absolute(), host)
    names = {"localhost", host, socket.gethostname(), *asked.domain}
    known = Locals(frozenset(name.lower() for name in names), asked.user)
    if asked.deliver_with is not None:
        return Program.parse(asked.deliver_with, known)
    return Program((asked.procmail or "procmail", "-d", "{user}"), known)


def _run(root: Path, host: str, agent: Agent | None) -> NoticeCount:
    async def run() -> NoticeCount:
        async with open_store(root, report=_report) as store:
            return await Notifier(store=store, host=host, agent=agent).run()

    with spool_owner.acting(root):
        return asyncio.run(run())


def _report(event: Event) -> None:
    if event.level in (Level.WARNING, Level.ERROR):
        _complain(str(event), 0)


def _complain(text: str, status: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {printable(text)}\n")
    return status


def _tell(count: NoticeCount, *, verbose: bool) -> int:
    for message, reason in count.trouble.items():
        _complain(f"{message}: {reason}", 1)
    if verbose:
        for word, messages in (
            ("sender told", count.told),
            ("null sender, nobody is told", count.double),
            ("nobody can be told", count.silent),
        ):
            sys.stdout.writelines(f"{message}: {word}\n" for message in messages)
        sys.stdout.write(
            f"{len(count.told)} told, {len(count.double)} of the null sender left,"
            f" {len(count.silent)} left for other reasons, {len(count.trouble)} in trouble\n"
        )
    return 1 if count.trouble else os.EX_OK
