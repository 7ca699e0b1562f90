"""Command lines made with argparse, whose errors are exceptions."""

import argparse
from typing import NoReturn

from emailrelay.terminal.run_command import CommandLineError


class CommandLineParser(argparse.ArgumentParser):
    """A parser that raises ``CommandLineError`` where argparse ends the process."""

    def error(self, message: str) -> NoReturn:
        """Raise the error.

        Raises:
            CommandLineError: always.

        """
        raise CommandLineError(message)
