"""Limits of a route, shared by all forwarder processes on one store.

Guarantee: at most ``most`` slots of a route are held at any time, over all processes that ask with
    the same ``most``. The slots of a process that dies are free at once (in a store with leases,
    when the lease ends).
Guarantee: at most ``rate.messages`` permits of a route are given in any ``rate.seconds``, over all
    processes that ask with the same rate, and over restarts.
"""

from abc import ABC, abstractmethod

from emailrelay.routes import Rate


class Slot(ABC):
    """The right to one connection on a route."""

    @abstractmethod
    def wanted(self) -> bool:
        """Return whether a process waits for a slot, so that this one should be given back soon.

        It does not wait; the answer may be some seconds old.
        """

    @abstractmethod
    def release(self) -> None:
        """Give the slot back, without waiting. Further calls do nothing."""


class RouteLimits(ABC):
    """The limits of one route."""

    @abstractmethod
    async def slot(self, most: int, *, within: float) -> Slot | None:
        """Take one of ``most`` slots. None: no slot became free ``within`` seconds.

        Raises:
            StoreError: the slots that are held are unknown now.

        """

    @abstractmethod
    async def permit(self, rate: Rate) -> float:
        """Ask to send one message. 0.0: yes, it is counted; else the seconds until the next try.

        Raises:
            StoreError: the messages that were sent are unknown now.

        """
