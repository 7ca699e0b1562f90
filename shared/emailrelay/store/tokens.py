"""The OAuth2 tokens of accounts, shared by all processes on one store.

They are opened apart from the mail (``chooser.open_tokens``): a sign-in needs no store that is fit
to take mail.

Guarantee: ``read`` gives the octets of the last ``keep``, whole, or the state before it. A crash of
    any process at any point changes nothing about that.
Guarantee: at most one process has the turn of an account at any time. It ends with its process (in
    a store with leases, when the lease ends).
Guarantee: the tokens are secrets: only the user of the services can read them.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager


class TokenTurn(ABC):
    """The sole right to renew the tokens of one account."""

    async def reserve(self) -> None:  # noqa: B027 - a default
        """Make sure of room for ``keep``: a full disk must not cost a token that works once.

        This default suits a store that cannot reserve room.

        Raises:
            StoreError: there is no room.

        """

    @abstractmethod
    async def keep(self, octets: bytes) -> None:
        """Put new tokens in place of the old ones, on stable storage.

        Raises:
            StoreError: it could not be done; the old ones remain.

        """


class TokenStore(ABC):
    """The tokens, by the names of accounts. It opens what it needs at the first call."""

    @abstractmethod
    async def read(self, account: str) -> bytes | None:
        """Return the octets of the last ``keep``, or None.

        Raises:
            StoreError: they cannot be read.
            StoreUnusable: they cannot be kept there as configured.

        """

    @abstractmethod
    def turn(self, account: str) -> AbstractAsyncContextManager[TokenTurn | None]:
        """Take the turn, for the block. None: another process has it.

        Raises:
            StoreError: it cannot be taken now.
            StoreUnusable: tokens cannot be stored there as configured.

        """

    async def close(self) -> None:  # noqa: B027 - a default
        """Close all that is open. The next call opens it again."""
