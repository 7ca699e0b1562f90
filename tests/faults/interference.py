"""A hostile process: removes lock files and sockets, sets file times, and takes locks."""

import contextlib
import os
import random
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Self

_LOCKS = (".slots", ".waiting", ".wake", ".doubt")
_YEAR = 365 * 24 * 3600.0
_PAUSE = 0.01


class Interference:
    """A ``with`` block in which such a process works on a spool; ``actions`` counts its actions."""

    def __init__(self, spool: Path) -> None:
        self.actions = 0
        self._spool = spool
        self._chance = random.Random(4711)  # noqa: S311 -- the same at every run
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_PAUSE):
            for name in _LOCKS:
                self._remove_some(self._spool / name)
            names = [n for n in os.listdir(self._spool) if not n.startswith(".")]  # noqa: PTH208
            for name in self._chance.sample(names, min(20, len(names))):
                self._disturb(self._spool / name)

    def _remove_some(self, directory: Path) -> None:
        with contextlib.suppress(OSError):
            for path in directory.iterdir():
                if self._chance.random() < 0.2:
                    with self._action():
                        path.unlink()

    def _disturb(self, path: Path) -> None:
        if path.suffix == ".lock":
            with self._action():
                path.unlink()
            return
        with self._action():
            when = self._chance.choice((0.0, path.lstat().st_mtime + _YEAR))
            os.utime(path, (when, when), follow_symlinks=False)
        with self._action():
            path.with_suffix(f"{path.suffix}.lock").touch()

    @contextlib.contextmanager
    def _action(self) -> Generator[None]:
        with contextlib.suppress(OSError):
            yield
            self.actions += 1
