"""``emailrelay-notify``: sends notices of failure to senders."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from emailrelay import spool_dir, spool_owner
from emailrelay.errors import StoreUnusable
from emailrelay.events.event import Event, Level
from emailrelay.notify.agents import Agent, LocalUsers, Maildir, Program
from emailrelay.notify.notifier import NoticeCount, Notifier
from emailrelay.standard_streams import drop_output
from emailrelay.store.chooser import open_store, spool_at
from emailrelay.terminal import common_options
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.run_command import CommandLineError, run_command

PROGRAM = "emailrelay-notify"
_STATUSES = (
    (0, "done, or nothing to do"),
    (1, "some notices could not be sent"),
    (64, "the command line is wrong"),
    (66, "there is no such store"),
    (75, "the store cannot be used now"),
    (78, "the settings are wrong"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/notify.md)."""
    return run_command(lambda: _notify(argv), program=PROGRAM)


def _notify(argv: Sequence[str] | None) -> int:
    asked = parser().parse(argv)
    settings = spool_dir.host_settings(asked.config)
    place = asked.spool_dir or asked.directory or asked.store or settings.store
    host = asked.host or settings.domain or socket.gethostname()
    try:
        agent = _agent(asked, host)
    except ValueError as error:
        raise CommandLineError(str(error)) from error
    spool = spool_at(place)
    if spool is not None and not spool.is_dir():
        raise StoreUnusable(f"{spool}: there is no such spool directory; use --spool-dir DIR")
    count = _run(place, spool, host, agent)
    try:
        status = _tell(count, verbose=asked.verbose)
        sys.stdout.flush()
    except OSError:  # the notices are sent, only the report cannot be printed
        drop_output()
        return 1 if count.trouble else os.EX_OK
    return status


def parser() -> CommandLineParser:
    """Return the parser of the command line."""
    parser = CommandLineParser(
        PROGRAM,
        "[options] [SPOOL-DIR]",
        "Send notices of failure to the senders of failed messages. The forwarder does this by "
        "itself; use this command for another way of delivery. Without --relay, --maildir or "
        "--deliver-with, procmail delivers the notices to local users.",
        statuses=_STATUSES,
        examples=(f"{PROGRAM} --relay --verbose", f"{PROGRAM} --maildir /var/mail/failures"),
    )
    parser.add_argument("directory", nargs="?", metavar="SPOOL-DIR", help="The spool directory.")
    way = parser.add_mutually_exclusive_group()
    for action in (
        way.add_argument(
            "--relay", action="store_true", help="Send notices by mail, through the store."
        ),
        way.add_argument(
            "--maildir", type=Path, metavar="DIR", help="Put all notices into a maildir."
        ),
        way.add_argument(
            "--deliver-with",
            metavar="COMMAND",
            help="Run COMMAND with the notice on its standard input; {user} and {sender} are "
            "replaced.",
        ),
        way.add_argument("--procmail", metavar="PROGRAM", help="Run PROGRAM -d USER. [procmail]"),
    ):
        parser.show(action, title="Ways of delivery (one of these)")
    parser.add_argument("-u", "--user", metavar="USER", help="Send every notice to this user.")
    parser.add_argument(
        "--domain",
        action="append",
        default=[],
        metavar="NAME",
        help="A mail domain of this host. Repeatable.",
    )
    parser.add_argument(
        "--host", metavar="NAME", help="The name of this host in notices. [domain of the settings]"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="Print each message's id and result."
    )
    parser.add(common_options.SPOOL_DIR, "Store")
    parser.add(common_options.STORE, "Store")
    parser.add(common_options.CONFIG, "Store")
    return parser


def _agent(asked: argparse.Namespace, host: str) -> Agent | None:
    if asked.relay:
        return None
    if asked.maildir is not None:
        return Maildir(asked.maildir.absolute(), host)
    names = {"localhost", host, socket.gethostname(), *asked.domain}
    known = LocalUsers(frozenset(name.lower() for name in names), asked.user)
    if asked.deliver_with is not None:
        return Program.parse(asked.deliver_with, known)
    return Program((asked.procmail or "procmail", "-d", "{user}"), known)


def _run(place: str, spool: Path | None, host: str, agent: Agent | None) -> NoticeCount:
    async def run() -> NoticeCount:
        async with open_store(spool or place, report=_report) as store:
            return await Notifier(store=store, host=host, agent=agent).run()

    with nullcontext() if spool is None else spool_owner.acting(spool):
        return asyncio.run(run())


def _report(event: Event) -> None:
    if event.level in (Level.WARNING, Level.ERROR):
        print_errors(PROGRAM, str(event))


def _tell(count: NoticeCount, *, verbose: bool) -> int:
    for message, reason in count.trouble.items():
        print_errors(PROGRAM, f"{message}: {reason}")
    if verbose:
        for word, messages in (
            ("sender notified", count.told),
            ("null sender, no notice", count.double),
            ("no notice possible", count.silent),
        ):
            sys.stdout.writelines(f"{message}: {word}\n" for message in messages)
        sys.stdout.write(
            f"{len(count.told)} notified, {len(count.double)} skipped (null sender),"
            f" {len(count.silent)} skipped for other reasons, {len(count.trouble)} not sent\n"
        )
    return 1 if count.trouble else os.EX_OK
