"""A smarthost for demonstrations: it takes any mail, shows it, and may keep it in a directory."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from emailrelay.listening import CannotListen, Listeners, written
from emailrelay.logs import field_value
from emailrelay.service import Signals
from emailrelay.terminal.error_lines import print_errors

# Only messages are shown.
logging.getLogger("mail.log").disabled = True

_MOST_KEPT = 200
"""Messages that are kept in a directory; older ones go."""
_LINES = 12
"""So many lines of a message are shown."""


class MessageDisplay:
    """Writes messages to standard output, and perhaps into a directory."""

    def __init__(self, keep: Path | None = None) -> None:
        self._count, self._keep = 0, keep

    def protocol(self) -> SMTP:
        """Make the protocol for one connection: aiosmtpd's own server."""
        return SMTP(self, hostname="smarthost.example", ident="demonstration", data_size_limit=None)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Show a message and return the reply."""
        self._count += 1
        sender, content = envelope.mail_from or "", envelope.original_content or b""
        sys.stdout.write(shown(self._count, sender, envelope.rcpt_tos, content))
        sys.stdout.flush()
        if self._keep is not None:
            keep(self._keep, sender, envelope.rcpt_tos, content)
        return f"250 2.0.0 shown as message {self._count}"


def keep(directory: Path, sender: str, recipients: list[str], content: bytes) -> None:
    """Write a message into a file, with its envelope in the first lines."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = sorted(directory.glob("[0-9]*.eml"))
    number = int(there[-1].stem) + 1 if there else 1
    head = [f"X-Envelope-From: {sender}", *(f"X-Envelope-To: {each}" for each in recipients)]
    scratch = directory / ".new"
    scratch.write_bytes("".join(f"{line}\r\n" for line in head).encode() + content)
    scratch.rename(directory / f"{number:08d}.eml")
    for each in there[: max(0, len(there) + 1 - _MOST_KEPT)]:
        each.unlink()


def shown(number: int, sender: str, recipients: list[str], content: bytes) -> str:
    """Return a message as it is shown: its envelope and the first lines of its content."""
    lines = content.decode("utf-8", "replace").splitlines()
    more = [f"({len(lines) - _LINES} more lines)"] if len(lines) > _LINES else []
    to = ", ".join(f"<{recipient}>" for recipient in recipients)
    head = f"message {number} from <{sender}> to {to}, {len(content)} bytes"
    body = [f"  | {line.expandtabs()}" for line in [*lines[:_LINES], *more]]
    return "".join(f"{field_value(line)}\n" for line in [head, *body])


async def serve(listeners: Listeners, keep: Path | None = None) -> None:
    """Serve on open sockets until the process is told to stop."""
    signals = Signals()
    display = MessageDisplay(keep)
    with closing(signals), ExitStack() as servers:
        for opened in listeners.sockets:
            server = await asyncio.get_running_loop().create_server(display.protocol, sock=opened)
            servers.enter_context(closing(server))
            sys.stdout.write(f"demonstration smarthost on {written(opened)}\n")
        sys.stdout.flush()
        await signals.stop.wait()


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text}: the port must be a number from 1 to 65535")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration smarthost.

    Returns 0 after a clean end, 69 (EX_UNAVAILABLE) when the address cannot be used.
    """
    parser = argparse.ArgumentParser(prog="emailrelay_receiver.demo", description=__doc__)
    parser.add_argument("--interface", default="127.0.0.1", metavar="IP", help="[%(default)s]")
    parser.add_argument("--port", type=_port, default=2526, metavar="PORT", help="[%(default)s]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the messages there, too")
    options = parser.parse_args(argv)
    with closing(Listeners()) as listeners:
        try:
            listeners.open([options.interface], options.port)
        except CannotListen as error:
            lines = str(error).splitlines()
            return print_errors("demonstration smarthost", *lines, status=os.EX_UNAVAILABLE)
        asyncio.run(serve(listeners, options.keep))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
