"""A smarthost for demonstrations: takes any mail, and only shows it."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing

from emailrelay.listening import CannotListen, Listeners, written
from emailrelay.logs import field_value
from emailrelay.service import Signals
from emailrelay_receiver.connection.wire import Demonstration

_LINES = 12
"""So many lines of a message are shown."""


class MessageDisplay:
    """Writes messages to standard output."""

    def __init__(self) -> None:
        self._count = 0

    def show(self, sender: str, recipients: list[str], content: bytes) -> str:
        """Show a message and return the reply."""
        self._count += 1
        sys.stdout.write(shown(self._count, sender, recipients, content))
        sys.stdout.flush()
        return f"250 2.0.0 shown as message {self._count}"


def shown(number: int, sender: str, recipients: list[str], content: bytes) -> str:
    """Return a message as it is shown: its envelope and the first lines of its content."""
    lines = content.decode("utf-8", "replace").splitlines()
    more = [f"({len(lines) - _LINES} more lines)"] if len(lines) > _LINES else []
    to = ", ".join(f"<{recipient}>" for recipient in recipients)
    head = f"message {number} from <{sender}> to {to}, {len(content)} bytes"
    body = [f"  | {line.expandtabs()}" for line in [*lines[:_LINES], *more]]
    return "".join(f"{field_value(line)}\n" for line in [head, *body])


async def serve(listeners: Listeners) -> None:
    """Serve on open sockets until the process is told to stop."""
    signals = Signals()
    demonstration = Demonstration(MessageDisplay().show, hostname="smarthost.example")
    with closing(signals), ExitStack() as servers:
        for opened in listeners.sockets:
            server = await asyncio.get_running_loop().create_server(
                demonstration.protocol, sock=opened
            )
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
    options = parser.parse_args(argv)
    with closing(Listeners()) as listeners:
        try:
            listeners.open([options.interface], options.port)
        except CannotListen as error:
            sys.stderr.write(f"demonstration smarthost: {error}\n")
            return os.EX_UNAVAILABLE
        asyncio.run(serve(listeners))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
