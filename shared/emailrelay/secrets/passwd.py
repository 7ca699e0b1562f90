"""``emailrelay-passwd``: makes a line for the secrets file, with no password as an argument."""

import getpass
import os
import secrets
import sys
from collections.abc import Sequence
from typing import NamedTuple

from emailrelay.secrets import md5_state
from emailrelay.secrets.key import make_scrypt, write_scrypt
from emailrelay.standard_streams import drop_output, prepare_streams
from emailrelay.terminal.command_line import ARGUMENTS, OPTIONS, print_version
from emailrelay.terminal.common_options import GENERAL, HELP, VERSION
from emailrelay.terminal.error_lines import print_errors, print_interrupted
from emailrelay.terminal.help_page import HelpEntry, HelpGroup, HelpPage, print_help

PROGRAM = "emailrelay-passwd"
ROLES = ("viewer", "operator")
HELP_PAGE = HelpPage(
    PROGRAM,
    ("[options] [NAME]",),
    (
        (
            "Make an entry for the secrets file. The password is read from the terminal, "
            "or from the first line of standard input. With a NAME the complete line is printed, "
            "otherwise only the secret. "
            "By default the secret is a scrypt hash, for PLAIN and LOGIN."
        ),
    ),
    (
        HelpGroup(ARGUMENTS, (HelpEntry(("NAME",), "The name of the user."),)),
        HelpGroup(
            OPTIONS,
            (
                HelpEntry(
                    ("--plain",),
                    "Keep the password itself, in xtext: for all mechanisms, and for client lines.",
                ),
                HelpEntry(("--client",), "Make a client line (with --plain or --md5)."),
                HelpEntry(
                    ("--role",),
                    "Make a line for console_auth: a user of the console with this role.",
                    "ROLE",
                    ROLES,
                ),
                HelpEntry(
                    ("--token",),
                    "Make a token for the console's API in place of a password (with --role). It "
                    "is shown once, on standard error.",
                ),
                HelpEntry(("--md5", "--hash"), "Make a hash for CRAM-MD5."),
                HelpEntry(
                    ("-d", "--dotted"),
                    "Write the md5 hash as numbers with dots, as old versions do.",
                ),
            ),
        ),
        HelpGroup(GENERAL, (HELP, VERSION)),
    ),
    statuses=(
        (0, "the entry has been printed"),
        (64, "the command line is wrong"),
        (65, "no password, or two that differ"),
        (74, "the entry cannot be written"),
    ),
    examples=(
        f"{PROGRAM} alice",
        f"{PROGRAM} --plain --client relay@example.net",
        f"{PROGRAM} --role operator alice >> console.auth",
    ),
)

_TOKEN_OCTETS = 32
_FORMS = {"--md5": "md5", "--hash": "md5", "--dotted": "md5", "-d": "md5", "--plain": "plain"}


class _Usage(Exception):
    """The command line is wrong; the text says which part."""


class _Asked(NamedTuple):
    """The wishes of the command line."""

    form: str
    side: str
    """``client`` or ``server``."""
    name: str
    role: str
    token: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Print an entry; return the exit status (sysexits.h)."""
    prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if {"--help", "-h"} & set(words):
        print_help(HELP_PAGE)
        return 0
    if {"--version", "-V"} & set(words):
        print_version(PROGRAM)
        return 0
    try:
        asked = _asked(words)
    except _Usage as error:
        return print_errors(PROGRAM, f"{error}; see --help", status=os.EX_USAGE)
    try:
        password = secrets.token_urlsafe(_TOKEN_OCTETS) if asked.token else _password()
        password.encode()
    except KeyboardInterrupt:
        return print_interrupted(PROGRAM, "no entry was made")
    except (EOFError, OSError, UnicodeError):
        return print_errors(
            PROGRAM,
            "the password cannot be read, or is not text; type it, or pipe one line",
            status=os.EX_DATAERR,
        )
    if not password or "\0" in password:
        return print_errors(
            PROGRAM, "no password, or two that differ; run the command again", status=os.EX_DATAERR
        )
    secret = _secret(asked.form, password, dotted=bool({"--dotted", "-d"} & set(words)))
    try:
        sys.stdout.write(_line(asked, secret))
        sys.stdout.flush()
    except OSError as error:
        drop_output()
        return print_errors(
            PROGRAM, f"the entry cannot be written: {error.strerror}", status=os.EX_IOERR
        )
    if asked.token:
        sys.stderr.write(f"The token, which is shown only now:\n{asked.name}.{password}\n")
    return 0


def _line(asked: _Asked, secret: str) -> str:
    if not asked.name:
        return f"{secret}\n"
    role = f" {'api-' if asked.token else ''}{asked.role}" if asked.role else ""
    return f"{asked.side} {asked.form} {xtext(asked.name)} {secret}{role}\n"


def xtext(text: str) -> str:
    """Write a text as one word of the secrets file: xtext (RFC 3461 section 4)."""
    return "".join(
        chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=#" else f"+{octet:02X}"
        for octet in text.encode(errors="surrogateescape")
    )


def _asked(words: Sequence[str]) -> _Asked:
    """Read the command line."""
    words, role = _role(words)
    forms = {_FORMS[word] for word in words if word in _FORMS}
    names = [word for word in words if not word.startswith("-")]
    known = {*_FORMS, "--client", "--token"}
    strange = [word for word in words if word.startswith("-") and word not in known]
    if strange:
        raise _Usage(f"{strange[0]}: unknown option")
    if len(names) > 1:
        # A password written here is in the history of the shell and must not be used.
        raise _Usage("give at most one name, and never the password")
    if len(forms) > 1:
        raise _Usage("give only one of --md5 and --plain")
    form, name = forms.pop() if forms else "scrypt", names[0] if names else ""
    side, token = "client" if "--client" in words else "server", "--token" in words
    if side == "client" and form == "scrypt":
        raise _Usage("--client needs --plain or --md5: a hash cannot be shown to a server")
    if role and (form != "scrypt" or side == "client" or not name):
        raise _Usage("--role needs a name, and goes with none of --client, --plain and --md5")
    if token and not role:
        raise _Usage("--token needs --role")
    return _Asked(form, side, name, role, token)


def _role(words: Sequence[str]) -> tuple[list[str], str]:
    """Return the other words, and the value of ``--role``."""
    rest, role = list[str](), ""
    waiting = iter(words)
    for word in waiting:
        option, equals, value = word.partition("=")
        if option != "--role":
            rest.append(word)
            continue
        role = value if equals else next(waiting, "")
        if role not in ROLES:
            raise _Usage(f"--role needs one of {', '.join(ROLES)}")
    return rest, role


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        password = getpass.getpass("Password: ")
        return password if getpass.getpass("Again: ") == password else ""
    except (EOFError, KeyboardInterrupt):
        sys.stderr.write("\n")  # the error begins a line of its own, not behind the prompt
        raise


def _secret(form: str, password: str, *, dotted: bool) -> str:
    match form:
        case "plain":
            return xtext(password)
        case "md5":
            states = md5_state.masked(password)
            return md5_state.to_dotted(states) if dotted else md5_state.to_text(states)
        case _:
            return write_scrypt(make_scrypt(password, secrets.token_bytes(16)))


if __name__ == "__main__":
    sys.exit(main())
