"""A vandal: removes what looks like a lock, touches what looks like mail, leaves own locks."""

import contextlib
import os
import random
import threading
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Self

_LOCKS = (".slots", ".waiting", ".wake", ".doubt")
_YEAR = 365 * 24 * 3600.0
_PAUSE = 0.01


class Vandal:
    """A ``with`` block during which a spool is vandalised; ``deeds`` counts the successes."""

    def __init__(self, spool: Path) -> None:
        self.deeds = 0
        self._spool = spool
        self._chance = random.Random(4711)  # noqa: S311 -- the same at every run
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_PAUSE):
            for name in _LOCKS:
                self._remove_some(self._spool / name)
            names = [n for n in os.listdir(self._spool) if not n.startswith(".")]  # noqa: PTH208
            for name in self._chance.sample(names, min(20, len(names))):
                self._spoil(self._spool / name)

    def _remove_some(self, directory: Path) -> None:
        with contextlib.suppress(OSError):
            for path in directory.iterdir():
                if self._chance.random() < 0.2:
                    with self._deed():
                        path.unlink()

    def _spoil(self, path: Path) -> None:
        if path.suffix == ".lock":
            with self._deed():
                path.unlink()
            return
        with self._deed():
            when = self._chance.choice((0.0, path.lstat().st_mtime + _YEAR))
            os.utime(path, (when, when), follow_symlinks=False)
        with self._deed():
            path.with_suffix(f"{path.suffix}.lock").touch()

    @contextlib.contextmanager
    def _deed(self) -> Generator[None]:
        with contextlib.suppress(OSError):
            yield
            self.deeds += 1
