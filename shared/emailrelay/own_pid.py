"""The number of this process, without a system call for each question."""

import os

_own = os.getpid()


def own_pid() -> int:
    """Return the number of this process, also in a forked one."""
    return _own


def _ask_again() -> None:
    global _own  # noqa: PLW0603 - a fork changes it
    _own = os.getpid()


os.register_at_fork(after_in_child=_ask_again)
