"""The phases of a session: they decide what a time limit or the end of the service may cut."""

from enum import Enum, auto


class Phase(Enum):
    """The present activity of a session."""

    LISTENING = auto()
    """Waits for the client's next command, or for the client to take replies."""
    RECEIVING = auto()
    """Waits for more of a message's content."""
    WRITING = auto()
    """Puts content into the store."""
    AWAITING = auto()
    """Waits for the filters' verdict or the next server's reply to a message."""
    ENCRYPTING = auto()
    """Waits for the TLS handshake, which has a time limit of its own."""
    PAUSING = auto()
    """Delays the reply to a failed login; the end of the service ends the delay."""
    ASKING = auto()
    """Waits for the address verifier, which has a time limit of its own."""
    WORKING = auto()
    """Does what the client waits for: answers a command, commits a message."""
