"""Reads the whole content of a message for a download, in a view of its own."""

from collections.abc import Callable, Iterator
from contextlib import closing

from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import QueueView


class NoContent(Exception):
    """There is no such message, or it has no content."""


def content_of(opens: Callable[[], QueueView], message: QueueId) -> Iterator[bytes]:
    """Yield the content of a message in chunks; the first one is empty, and tells that it exists.

    A download is slow if its client is, so it must not hold one of the readers' few views.

    Raises:
        NoContent: before the first chunk.
        StoreUnusable, StoreError, OSError: the store cannot be read now.

    """
    with closing(opens()) as view:
        chunks = view.content(message)
        if chunks is None:
            raise NoContent
        yield b""
        yield from chunks
