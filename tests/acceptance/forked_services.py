"""Services of the acceptance tests that are forked (``tests.forked``)."""

from tests.acceptance.relay import Running, Service
from tests.forked import Born


class Forked(Service):
    """A service, forked. With an environment of its own it is executed after all."""

    def begin(self) -> Running:
        """See ``Process.begin``."""
        if self.env is not None:
            return super().begin()
        return Born([str(word) for word in self.command], self.log, self.errors)
