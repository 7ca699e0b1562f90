"""A progress bar on standard error, for long work at a terminal."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

_MANY = 200
"""From this number of steps on, a bar is shown."""


@contextmanager
def progress(doing: str, steps: int) -> Generator[Callable[[], None]]:
    """Show a bar during the block, which calls the given function once for each step."""
    if steps < _MANY or not sys.stderr.isatty():
        yield lambda: None
        return
    # Importing Rich takes longer than most commands run.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=steps)
        yield lambda: bar.advance(task)
