"""What all forwarder processes on one store may do together on one route.

Guarantee: at most ``most`` slots of a route are held at any time, over all processes that ask with
    the same ``most``. The slots of a process that dies are free at once (in a store with leases, when
    the lease ends).
Guarantee: at most ``rate.messages`` permits of a route are given in any ``rate.seconds``, over all
    processes that ask with the same rate, and over restarts.
"""

from abc import ABC, abstractmethod

from emailrelay.routes import Rate


class Slot(ABC):
    """The right to one connection on a route."""

    @abstractmethod
    def wanted(self) -> bool:
        """Tell whether somebody waits for a slot, so that this one is better given back soon."""

    @abstractmethod
    def release(self) -> None:
        """Give the slot back; once is enough, more does no harm."""


class RouteLimits(ABC):
    """The limits of one route."""

    @abstractmethod
    async def slot(self, most: int, *, within: float) -> Slot | None:
        """Take one of ``most`` slots; None: no slot became free ``within`` seconds.

        Raises:
            StoreError: there is no saying who holds which.

        """

    @abstractmethod
    async def permit(self, rate: Rate) -> float:
        """Ask to send one message: 0.0 is yes, and counted; else the seconds until there may be a yes.

        Raises:
            StoreError: there is no saying what was sent.

        """
