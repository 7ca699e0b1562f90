"""The command ``init``: three questions make the settings of this host."""

import os
import socket
import subprocess
import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from emailrelay import settings_file
from emailrelay.configure import answers, writing
from emailrelay.configure.answers import LOCAL, Answers
from emailrelay.configure.options import PROGRAM
from emailrelay.spool_owner import SERVICE_USER
from emailrelay.terminal import ask
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.error_lines import print_errors, print_interrupted
from emailrelay.terminal.output import print_line
from emailrelay.terminal.run_command import CommandLineError
from emailrelay.terminal.verbs import Verb

_SECRETS = "emailrelay.auth"
"""The name of the secrets file, beside the settings file."""
_MOST = 4096
"""Octets of a password file."""
_T = TypeVar("_T")


def _init(asked: Namespace) -> int:
    config: str | None = asked.config
    path = Path(settings_file.chosen(config, os.environ) or settings_file.DEFAULT).absolute()
    replaces = writing.check_free(path, force=asked.force)
    _all_given(smarthost=asked.smarthost, account=asked.account, clients=asked.clients)
    found, password = _ask(asked.smarthost, asked.account, asked.clients, asked.password_file)
    try:
        _write(path, found, password, force=asked.force, replaces=replaces, config=config)
        return _examine(path, asked.doctor)
    except KeyboardInterrupt:  # most probably while the doctor works
        return print_interrupted(PROGRAM, "files written before stay")


def _write(
    path: Path, found: Answers, password: str, *, force: bool, replaces: bool, config: str | None
) -> None:
    """Write the settings file, and the secrets file if the answers need one; print what is next."""
    secrets = path.with_name(_SECRETS)
    written = [str(path)]
    if found.needs_secrets:
        also = writing.check_free(secrets, force=force)
        text = answers.secrets_text(found, password)
        writing.write(secrets, text, secret=True, force=also)
        written.insert(0, str(secrets))
        if os.geteuid() == 0 and writing.group_of_services() is None:
            print_line(
                f"only root can read {secrets} until there is a user {SERVICE_USER}: run "
                f"emailrelay-setup, then chgrp {SERVICE_USER} {secrets} && chmod 640 {secrets}"
            )
    machine = socket.gethostname()
    settings = answers.settings_text(found, str(secrets), machine)
    writing.write(path, settings, secret=False, force=replaces)
    for line in answers.next_steps(found, written, machine, config=str(path) if config else ""):
        print_line(line)


def _ask(
    smarthost: str | None, account: str | None, clients: str | None, password_file: str | None
) -> tuple[Answers, str]:
    """Return the answers and the password, from the options or a person."""

    def server(*, signs_in: bool) -> Callable[[str], str]:
        return partial(answers.read_smarthost, signs_in=signs_in)

    question = "Next mail server, as HOST or HOST:PORT"
    place = _answer("smarthost", smarthost, question, _Same(server(signs_in=True)))
    question = "User name there (none: without a login)"
    user = _answer("account", account, question, answers.read_account, "none")
    password = _password(password_file, user) if user else ""
    question = (
        f"Hosts that can send mail ({LOCAL}: only this one; or networks, as in 192.168.0.0/24)"
    )
    networks = _answer("clients", clients, question, answers.read_clients, LOCAL)
    return Answers(server(signs_in=bool(user))(place), user, networks), password


class _Same:
    """Checks an answer and returns it as it is: what it means depends on a later one."""

    def __init__(self, check: Callable[[str], str]) -> None:
        self._check = check

    def __call__(self, text: str) -> str:
        self._check(text)
        return text


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _all_given(**given: str | None) -> None:
    """Raise an error that names every missing option, if there is no terminal to ask at."""
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if missing and not _at_terminal():
        raise CommandLineError(f"standard input is not a terminal: give {', '.join(missing)}")


def _answer(
    name: str,
    given: str | None,
    question: str,
    read: Callable[[str], _T],
    default: str = "",
) -> _T:
    """Return the value of an option. Without the option, ask a person until the answer is good."""
    if given is not None:
        try:
            return read(given)
        except ValueError as error:
            raise CommandLineError(f"--{name}: {error}") from error
    while True:
        text = ask.answer(question, default)
        try:
            return read(text)
        except ValueError as error:
            print_errors(PROGRAM, str(error))


def _password(file: str | None, user: str) -> str:
    """Return the password. It is never an argument: every user of the machine can see those."""
    if file is None and not _at_terminal():
        text = "standard input is not a terminal: give --password-file FILE (- for standard input)"
        raise CommandLineError(text)
    while file is None:
        text = ask.secret(f"Password of {user}")
        try:
            return answers.check_password(text)
        except ValueError as error:
            print_errors(PROGRAM, str(error))
    try:
        text = sys.stdin.readline(_MOST) if file == "-" else _line_of(Path(file))
        return answers.check_password(text)
    except OSError as error:
        problem = f"--password-file: {file}: cannot be read: {error.strerror}"
        raise CommandLineError(problem) from error
    except ValueError as error:  # also if it is not UTF-8 text
        raise CommandLineError(f"--password-file: {file}: {error}") from error


def _line_of(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_MOST)


def _examine(path: Path, doctor: bool | None) -> int:  # noqa: FBT001 -- None is a third value
    """Run the doctor if it is wanted; return its exit status."""
    if doctor is None:
        doctor = _at_terminal() and _wanted()
    if not doctor:
        print_line(f"next: emailrelay-doctor --config {path}")
        return os.EX_OK
    sys.stdout.flush()
    program = [sys.executable, "-P", "-m", "emailrelay_forwarder.doctor", "--config", str(path)]
    return subprocess.run(program, check=False).returncode  # noqa: S603 -- ours, and no shell


def _wanted() -> bool:
    question = "Try the connection to the smarthost now (emailrelay-doctor)?"
    try:
        return ask.answer(f"{question} [Y/n]").lower() in ("", "y", "yes")
    except ask.NoAnswer:  # the files are written
        return False


def _add_answers(parser: CommandLineParser) -> None:
    parser.add_argument(
        "--smarthost",
        metavar="HOST[:PORT]",
        help="The next mail server. [port 587; 25 without account]",
    )
    parser.add_argument("--account", metavar="NAME", help="The user name there, or none.")
    parser.add_argument(
        "--password-file", metavar="FILE", help="A file with the password; - for standard input."
    )
    parser.add_argument(
        "--clients",
        metavar="WHO",
        help="Hosts that can send: local, or networks such as 192.168.0.0/24.",
    )
    parser.add_argument(
        "--force", action="store_true", help="Replace existing files; copies are kept as .old."
    )
    parser.add_argument(
        "--doctor", action=BooleanOptionalAction, help="Try the smarthost afterwards."
    )


INIT = Verb(
    "Ask for smarthost, account and clients, and write the settings file.",
    "[options]",
    _init,
    (_add_answers,),
    ("init --smarthost smtp.example.net:587 --clients local",),
)
