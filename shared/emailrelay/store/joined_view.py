"""Several queues as one, oldest first; the queues of unavailable stores are left out."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId, arrival
from emailrelay.stage import Stage
from emailrelay.store.queue_view import Listed, QueueEntry, QueueView, StageCount, summed

_AT_ONCE = 200


class JoinedView(QueueView):
    """See ``QueueView``. A message of two stores (it is moving) is that of the first of them."""

    def __init__(self, views: Sequence[Callable[[], QueueView]]) -> None:
        """Open each store that can be opened.

        Raises:
            StoreError: none of them can.

        """
        self._views: list[QueueView] = []
        try:
            for opens in views:
                self._try(opens)
        except BaseException:
            self.close()
            raise
        if not self._views:
            raise StoreError("list messages", self.missing or "there is no store")

    def _try(self, opens: Callable[[], QueueView]) -> None:
        try:
            self._views.append(opens())
        except StoreError as error:
            self.missing = str(error)

    def listing(
        self, stages: Sequence[Stage] = tuple(Stage), ids: Collection[QueueId] = ()
    ) -> Iterator[Listed]:
        """See ``QueueView.listing``."""
        each = [self._until_away(view.listing(stages, ids)) for view in self._views]
        last = None
        for listed in merge(*each, key=lambda listed: arrival(listed.id)):
            if listed.id != last:
                yield listed
            last = listed.id

    def _until_away(self, found: Iterator[Listed]) -> Iterator[Listed]:
        try:
            yield from found
        except StoreError as error:
            self.missing = str(error)

    def counts(self, now: float, *, names_only: bool = False) -> Iterable[StageCount]:
        """See ``QueueView.counts``: a message that is moving may count twice."""
        each = (self._counts(view, now, names_only=names_only) for view in self._views)
        return summed(count for counts in each for count in counts)

    def _counts(self, view: QueueView, now: float, *, names_only: bool) -> Iterable[StageCount]:
        try:
            return view.counts(now, names_only=names_only)
        except StoreError as error:
            self.missing = str(error)
            return ()

    def entries(self, listed: Iterable[Listed]) -> Iterator[QueueEntry]:
        """See ``QueueView.entries``."""
        waiting = iter(listed)
        while part := list(islice(waiting, _AT_ONCE)):
            found = dict[QueueId, QueueEntry]()
            for view in self._views:
                rest = [message for message in part if message.id not in found]
                found.update((entry.listed.id, entry) for entry in view.entries(rest))
            yield from (found[message.id] for message in part if message.id in found)

    def content(self, message: QueueId) -> Iterator[bytes] | None:
        """See ``QueueView.content``."""
        contents = (view.content(message) for view in self._views)
        return next((content for content in contents if content is not None), None)

    def free(self) -> tuple[int, int] | None:
        """See ``QueueView.free``: of the first that knows."""
        return next((room for view in self._views if (room := view.free())), None)

    def close(self) -> None:
        """See ``QueueView.close``."""
        for view in self._views:
            view.close()
