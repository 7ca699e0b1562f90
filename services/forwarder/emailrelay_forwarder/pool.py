"""What one worker of a pool asks all of them to do."""

import os
import signal
from collections.abc import Callable


def flush_all(supervisor: int) -> Callable[[], None]:
    """Give what makes all deferred mail due when a dispatcher, not this worker, knows what there is.

    The supervisor passes a flush signal on to the dispatcher and to every worker. Workers that hear of
    a server's return in this way look for themselves, and have nothing more to ask for then.
    """

    def flush() -> None:
        # Its number may be somebody else's when it has gone; then this worker ends as well.
        if os.getppid() == supervisor:
            os.kill(supervisor, signal.SIGUSR1)

    return flush
