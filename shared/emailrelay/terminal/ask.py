"""Questions to the person at the terminal."""

import sys

from emailrelay.errors import RelayError


class NoAnswer(RelayError):
    """The person ended the input, or pressed Ctrl-C, at a question; nothing was changed by then."""

    temporary = False

    def __init__(self) -> None:
        super().__init__("interrupted; nothing was changed")


def confirmed(question: str) -> bool:
    """Ask; return whether the answer is yes. Without a terminal nothing is asked: yes."""
    if not sys.stdin.isatty():
        return True
    _show(f"{question} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def answer(question: str, default: str = "") -> str:
    """Return the answer, or ``default`` for an empty line.

    Raises:
        NoAnswer: there is none.

    """
    _show(f"{question} [{default}]: " if default else f"{question}: ")
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt as error:
        raise _none() from error
    if not line:
        raise _none()
    return line.strip() or default


def secret(question: str) -> str:
    """Return the answer, which is not shown while it is typed.

    Raises:
        NoAnswer: there is none.

    """
    import getpass  # noqa: PLC0415 - 10 ms that few commands need

    try:
        return getpass.getpass(f"{question}: ")
    except (EOFError, KeyboardInterrupt) as error:
        raise _none() from error


def _none() -> NoAnswer:
    _show("\n")  # the error begins a line of its own, not behind the question
    return NoAnswer()


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
