"""Work that is done once, at the end of a turn of the event loop."""

from collections.abc import Callable

from emailrelay.running_loop import running_loop


def at_turn_end(act: Callable[[], None]) -> None:
    """Call ``act``, which must not raise, when this turn of the loop has ended.

    In a thread without a running loop it is called at once.
    """
    try:
        loop = running_loop()
    except RuntimeError:
        act()
    else:
        loop.call_soon(act)
