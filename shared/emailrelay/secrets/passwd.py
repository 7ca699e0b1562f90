"""``emailrelay-passwd``: makes a line for the secrets file, with no password as an argument."""

import getpass
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import NamedTuple

from emailrelay.secrets import md5_state
from emailrelay.secrets.key import make_scrypt, write_scrypt
from emailrelay.standard_streams import drop_output, prepare_streams
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.error_lines import print_errors, print_interrupted
from emailrelay.terminal.run_command import CommandLineError

PROGRAM = "emailrelay-passwd"
ROLES = ("viewer", "operator")
_TOKEN_OCTETS = 32


class _Asked(NamedTuple):
    """The wishes of the command line."""

    form: str
    side: str
    """``client`` or ``server``."""
    name: str
    role: str
    token: bool
    dotted: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Print an entry; return the exit status (sysexits.h)."""
    prepare_streams()
    try:
        asked = _asked(sys.argv[1:] if argv is None else argv)
    except CommandLineError as error:
        return print_errors(PROGRAM, *str(error).splitlines(), status=os.EX_USAGE)
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
    secret = _secret(asked.form, password, dotted=asked.dotted)
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
    """Read the command line.

    Raises:
        CommandLineError: it is wrong; the text says which part.

    """
    got = parser().parse_mixed(words, Namespace())
    if len(got.names) > 1:
        # A password written here is in the history of the shell and must not be used.
        raise CommandLineError("give at most one name, and never the password; see --help")
    md5 = got.md5 or got.dotted
    if md5 and got.plain:
        raise CommandLineError("give only one of --md5 and --plain")
    form = "md5" if md5 else "plain" if got.plain else "scrypt"
    name = got.names[0] if got.names else ""
    if got.client and form == "scrypt":
        raise CommandLineError(
            "--client needs --plain or --md5: a hash cannot be shown to a server"
        )
    if got.role and (form != "scrypt" or got.client or not name):
        raise CommandLineError(
            "--role needs a name, and goes with none of --client, --plain and --md5"
        )
    if got.token and not got.role:
        raise CommandLineError("--token needs --role")
    side = "client" if got.client else "server"
    return _Asked(form, side, name, got.role, got.token, got.dotted)


def parser() -> CommandLineParser:
    """Return the parser of the command line."""
    parser = CommandLineParser(
        PROGRAM,
        "[options] [NAME]",
        "Make an entry for the secrets file. The password is read from the terminal, or from the "
        "first line of standard input. With a NAME the complete line is printed, otherwise only "
        "the secret. By default the secret is a scrypt hash, for PLAIN and LOGIN.",
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
    parser.add_argument("names", nargs="*", metavar="NAME", help="The name of the user.")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="Keep the password itself, in xtext: for all mechanisms, and for client lines.",
    )
    parser.add_argument(
        "--client", action="store_true", help="Make a client line (with --plain or --md5)."
    )
    parser.add_argument(
        "--role",
        choices=ROLES,
        default="",
        help="Make a line for console_auth: a user of the console with this role.",
    )
    parser.add_argument(
        "--token",
        action="store_true",
        help="Make a token for the console's API in place of a password (with --role). It is shown "
        "once, on standard error.",
    )
    parser.add_argument("--md5", "--hash", action="store_true", help="Make a hash for CRAM-MD5.")
    parser.add_argument(
        *("-d", "--dotted"),
        action="store_true",
        help="Write the md5 hash as numbers with dots, as old versions do.",
    )
    return parser


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
