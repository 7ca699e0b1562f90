"""A check that holds for all that one turn of the event loop does."""

from collections.abc import Callable

from emailrelay.running_loop import running_loop


class OnceATurn:
    """Remembers in a turn of the loop that a check has passed. Threads always check."""

    __slots__ = ("_passed",)

    def __init__(self) -> None:
        self._passed = False

    def check(self, act: Callable[[], None]) -> None:
        """Call ``act``, unless it has passed in this turn of the loop. Raises what it raises."""
        try:
            loop = running_loop()
        except RuntimeError:  # a thread that syncs
            act()
            return
        if not self._passed:
            act()
            self._passed = True
            loop.call_soon(self._forget)

    def _forget(self) -> None:
        self._passed = False
