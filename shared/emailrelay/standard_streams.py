"""Standard input, output and error of a command, made usable even if the caller closed them."""

import io
import os
import sys


def prepare_streams() -> None:
    r"""Make the three streams usable. A command calls this before it does anything else.

    A closed descriptor is opened on ``/dev/null``. Otherwise the next file that the command opens
    would get its number, and messages to standard error would go into that file. Standard input is
    opened for writing only, so reading it fails: a missing message is not an empty message.

    Characters that the console's character set lacks are shown as escapes (``\xf1``). Otherwise
    such a character would end the command with a traceback.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_WRONLY), True)  # noqa: FBT003 - no keyword
    # Python has no stream for a descriptor that was closed when it started.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - stays open
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def mention(text: str) -> None:
    """Print a line that may be lost: a full disk does not undo the work of the command."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        drop_output()


def drop_output() -> None:
    """Drop unwritten output, which would make the interpreter fail again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
