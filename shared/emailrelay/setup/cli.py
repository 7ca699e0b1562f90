"""The command line of ``emailrelay-setup``."""

import argparse
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from emailrelay.errors import RelayError, reason_of
from emailrelay.setup import links, places, reach, sendmail, shipped, units, users
from emailrelay.setup.machine import Machine, SetupFailed
from emailrelay.setup.step import AlreadySo, LeftAlone, SetupSteps, StepToTake
from emailrelay.spool_owner import SERVICE_USER
from emailrelay.standard_streams import prepare_streams
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.output import counted, output_until_closed, print_line
from emailrelay.terminal.run_command import CommandLineError

PROGRAM = "emailrelay-setup"
_STATUSES = (
    (0, "done, or nothing to do"),
    (1, "a step failed"),
    (64, "the command line is wrong"),
    (66, "there is no such directory"),
    (77, "only root can do this"),
    (78, "the services could not run the commands"),
)
_SERVICES = ("receiver", "filterd", "forwarder")
_OPTIONAL = {"monitor": "runtime_dir", "console": "console_auth"}
"""Services that run only with a setting."""
_AS_USER = f"setpriv --reuid={SERVICE_USER} --regid={SERVICE_USER} --init-groups"
"""Becomes the user of the services and then the service: signals reach it, unlike with runuser."""
_WITH_PORT_25 = f"{_AS_USER} --inh-caps=+net_bind_service --ambient-caps=+net_bind_service"
"""Also gives the right that the units give: ports below 1024."""
_EXAMPLE = shipped.OURS / "emailrelay.toml"


@dataclass(slots=True)
class _Tally:
    changes: int = 0
    left: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/setup.md)."""
    prepare_streams()
    try:
        asked = parser().parse(argv)
        with output_until_closed():
            return _run(asked)
    except CommandLineError as error:
        return print_errors(PROGRAM, *str(error).splitlines(), status=os.EX_USAGE)
    except RelayError as error:
        return print_errors(PROGRAM, str(error), status=1)
    except OSError as error:
        return print_errors(PROGRAM, reason_of(error), status=1)
    return 1  # the reader of the output has gone, and the other steps were not made


def _run(asked: argparse.Namespace) -> int:
    if os.geteuid() != 0 and not asked.dry_run:
        wrong = "only root can do this; --dry-run shows the steps to every user"
        return print_errors(PROGRAM, wrong, status=os.EX_NOPERM)
    machine = Machine(asked.root.resolve())
    if not machine.root.is_dir():
        return print_errors(PROGRAM, f"{asked.root}: no such directory", status=os.EX_NOINPUT)
    bin_dir = asked.bin_dir or machine.own(Path(sysconfig.get_path("scripts")))
    if not asked.undo:
        programs = (bin_dir / "emailrelay-receiver", machine.own(Path(sys.executable)))
        reason = reach.obstacle(machine, programs if asked.bin_dir is None else programs[:1])
        if reason is not None:
            remedy = "install the relay in a directory that all users can read, as /opt/emailrelay"
            return print_errors(
                PROGRAM,
                f"the user {SERVICE_USER} could not run the commands: {reason}",
                remedy,
                status=os.EX_CONFIG,
            )
    steps = _removal(machine, bin_dir) if asked.undo else _set_up(machine, bin_dir, asked)
    tally = _take(steps, dry_run=asked.dry_run)
    if not asked.undo and not asked.dry_run and machine.is_this_one:
        _try_command(machine, bin_dir)
    _sum_up(tally, dry_run=asked.dry_run)
    if not asked.undo and not asked.dry_run:
        for line in _next_steps(machine, bin_dir):
            print_line(line)
    return os.EX_OK


def _set_up(machine: Machine, bin_dir: Path, asked: argparse.Namespace) -> SetupSteps:
    files = shipped.files()
    spool = places.spool_of(machine)
    yield from users.set_up(machine, spool)
    yield from places.set_up(machine, spool, files[_EXAMPLE].read_text("utf-8"))
    for noun, targets in _links(machine, bin_dir).items():
        yield from links.set_up(machine, noun, targets)
    if asked.sendmail:
        submit = bin_dir / "emailrelay-submit"
        yield from sendmail.set_up(machine, submit, replace=asked.replace_sendmail)
    yield from units.set_up(machine, units.units(files, bin_dir))


def _removal(machine: Machine, bin_dir: Path) -> SetupSteps:
    """Yield the steps in the other order: the services end before their files go."""
    files = shipped.files()
    spool = places.spool_of(machine)
    yield from units.take_down(machine, units.units(files, bin_dir))
    yield from sendmail.take_down(machine, bin_dir / "emailrelay-submit")
    for noun, targets in _links(machine, bin_dir).items():
        yield from links.take_down(machine, noun, targets)
    yield from places.take_down(machine, spool, files[_EXAMPLE].read_text("utf-8"))
    yield from users.take_down(machine, spool if places.is_used(machine, spool) else None)


def _links(machine: Machine, bin_dir: Path) -> dict[str, dict[Path, Path]]:
    files = {
        name: machine.own(place)
        for name, place in shipped.files().items()
        if machine.holds(place)  # a file outside is not in the image
    }
    return {
        "commands": dict(links.of_commands(bin_dir, shipped.commands())),
        "manual pages and completions": dict(links.of_files(files, shipped.OURS)),
    }


def _take(steps: SetupSteps, *, dry_run: bool) -> _Tally:
    """Print and make the steps, one by one; return the numbers."""
    tally = _Tally()
    for step in steps:
        match step:
            case StepToTake(text, make):
                tally.changes += 1
                print_line(text)
                if not dry_run:
                    make()
            case AlreadySo(text):
                print_line(f"already there: {text}")
            case LeftAlone(text, remedy):
                tally.left += 1
                print_line(f"left alone: {text}")
                print_line(f"    {remedy}")
            case _:
                assert_never(step)
    return tally


def _try_command(machine: Machine, bin_dir: Path) -> None:
    """Run a command as the user of the services: permissions have more sources than modes."""
    command = str(bin_dir / "emailrelay-receiver")
    if not machine.has_program("runuser"):
        return
    status, said = machine.try_run("runuser", "-u", SERVICE_USER, "--", command, "--version")
    if status:
        raise SetupFailed(f"the user {SERVICE_USER} cannot run {command}: {said or status}")


def _sum_up(tally: _Tally, *, dry_run: bool) -> None:
    left = f" {counted(tally.left, 'thing')} left alone." if tally.left else ""
    if not tally.changes:
        print_line(f"Nothing to do.{left}")
    elif dry_run:
        print_line(f"Dry run: {counted(tally.changes, 'step')} to do, nothing changed.{left}")
    else:
        print_line(f"Done: {counted(tally.changes, 'step')}.{left}")


def _next_steps(machine: Machine, bin_dir: Path) -> Iterator[str]:
    """Yield what the administrator does now."""
    files = shipped.files()
    if machine.is_this_one and (
        restart := units.restart_hint(machine, units.units(files, bin_dir))
    ):
        yield f"The services run with what they read at their start: {restart}"
        return
    yield ""
    yield "Next:"
    settings = places.settings_of(machine)
    if not settings:
        yield "  emailrelay-config init"
    yield "  emailrelay-config check"
    if machine.has_systemd:
        names = " ".join(f"emailrelay-{service}" for service in _SERVICES)
        yield f"  systemctl enable --now {names}"
        return
    yield "  start these commands at boot, each in the foreground:"
    for service in (*_SERVICES, *(each for each, needs in _OPTIONAL.items() if needs in settings)):
        as_user = _WITH_PORT_25 if service == "receiver" else _AS_USER
        yield f"    {as_user} -- {bin_dir}/emailrelay-{service}"


def parser() -> CommandLineParser:
    """Return the parser of the command line."""
    parser = CommandLineParser(
        PROGRAM,
        "[options]",
        "Make this machine ready for the services: user, spool, settings, units, and "
        "links to the commands. Each step is printed. Another run changes only what is missing.",
        statuses=_STATUSES,
        examples=(f"{PROGRAM} --dry-run", f"{PROGRAM} --undo --dry-run"),
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="Print the steps and change nothing."
    )
    parser.add_argument(
        "--undo",
        action="store_true",
        help="Remove what this command has made. Mail, secrets and edited files stay.",
    )
    names = parser.add_mutually_exclusive_group()
    replace = names.add_argument(
        "--replace-sendmail",
        action="store_true",
        help="Replace another program's sendmail, mailq and newaliases with the relay.",
    )
    leave = names.add_argument(
        "--no-sendmail",
        dest="sendmail",
        action="store_false",
        help="Do not create the links sendmail, mailq and newaliases.",
    )
    parser.show(replace)
    parser.show(leave)
    parser.add_argument(
        "--bin-dir",
        type=Path,
        metavar="DIR",
        help="The directory of the commands. [that of this command]",
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        default=Path("/"),
        help="Set up the machine whose files are below DIR, such as an image. [/]",
    )
    return parser
