"""What a session is at."""

from enum import Enum, auto


class Phase(Enum):
    """Decides what a time limit or the end of the service may cut."""

    LISTENING = auto()
    """Waits for the client's next command."""
    RECEIVING = auto()
    """Waits for more of a message's content."""
    WRITING = auto()
    """Puts what has come of the content into the store."""
    AWAITING = auto()
    """Waits for the filters' verdict or the next server's reply to a message."""
    ENCRYPTING = auto()
    """Shakes hands, which has a time limit of its own."""
    PAUSING = auto()
    """Lets a client wait that could not log in; the end of the service ends the pause."""
    ASKING = auto()
    """Waits for the address verifier, which has a time limit of its own."""
    WORKING = auto()
    """Does what the client waits for: answers a command, commits a message."""
