"""A check that is made once in a turn of the event loop, and holds until the turn ends."""

from contextlib import suppress

from emailrelay.running_loop import running_loop


class OnceATurn:
    """Remembers in a turn of the loop that a check has passed. Only the loop may ask."""

    __slots__ = ("passed",)

    def __init__(self) -> None:
        self.passed = False
        """The check has passed in this turn of the loop."""

    def note(self) -> None:
        """Note that it has passed, for the rest of this turn; in a thread, do nothing."""
        with suppress(RuntimeError):  # no loop runs in a thread that syncs
            running_loop().call_soon(self._forget)
            self.passed = True

    def _forget(self) -> None:
        self.passed = False
