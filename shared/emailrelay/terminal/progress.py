"""The progress of long work, on standard error at a terminal."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

_MANY = 200
"""From this number of steps on, a bar is shown."""
_SHOWN = 5000
"""A count of an unknown number is shown each time when it has grown by this."""


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


@contextmanager
def counting(doing: str) -> Generator[Callable[[], None]]:
    """Show a growing number during the block, which calls the given function for each thing."""
    count, terminal = 0, sys.stderr.isatty()

    def step() -> None:
        nonlocal count
        count += 1
        if terminal and count % _SHOWN == 0:
            sys.stderr.write(f"\r{count:,} {doing}")
            sys.stderr.flush()

    try:
        yield step
    finally:
        if terminal and count >= _SHOWN:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
