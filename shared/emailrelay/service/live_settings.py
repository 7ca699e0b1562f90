"""The settings of a running service, which it reads again at SIGHUP."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from emailrelay.config import Settings, at_start, read
from emailrelay.errors import ConfigError
from emailrelay.events.event import Report
from emailrelay.events.service import Reloaded, ReloadRefused

_S = TypeVar("_S", bound=Settings)

Swap: TypeAlias = Callable[[], None]
"""Puts prepared settings into force by an assignment, which cannot fail."""


class LiveSettings(Generic[_S]):
    """Settings that may change: either all new ones take effect or none.

    Give it to ``processes.run``, which reloads it at SIGHUP. Each process has its own. A supervisor
    reads first, and its workers follow only if the new settings are good; workers that start later
    begin with them. Do not await between reading ``now`` and calling ``on_change``, or you may miss
    a change.
    """

    def __init__(
        self,
        settings: _S,
        argv: Sequence[str] | None,
        *,
        report: Report,
        check: Callable[[_S], None] = lambda _settings: None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Begin with settings that came from ``argv`` (None: the process's own) and ``environ``.

        ``check`` raises ConfigError for trouble beyond the settings themselves, such as a key file
        that cannot be read. A supervisor has no other check.
        """
        self.now = settings
        self._argv = tuple(sys.argv[1:] if argv is None else argv)
        self._environ = environ
        self._report = report
        self._check = check
        self._prepares: list[Callable[[_S], Swap]] = []

    def on_change(self, prepare: Callable[[_S], Swap]) -> None:
        """Call ``prepare`` with the new settings at each reload, even without a change in them.

        The files that they name may have changed. ``prepare`` returns the function that puts them
        into force, or raises ConfigError to refuse them.
        """
        self._prepares.append(prepare)

    def reload(self) -> bool:
        """Read all sources again; report the changes, or report every problem and return False."""
        before = self.now
        wanted = self._take_over()
        if wanted is None:
            return False
        changed, waiting = list[str](), list[str]()
        for name in sorted(type(before).model_fields):
            if getattr(wanted, name) != getattr(before, name):
                (waiting if name in at_start(type(before)) else changed).append(name)
        self._report(
            Reloaded(
                service=before.service,
                changed=", ".join(changed) or "nothing",
                needs_restart=", ".join(waiting) or "nothing",
            )
        )
        return True

    def follow(self) -> None:
        """Take over settings that the supervisor has read and reported; report only problems."""
        self._take_over()

    def _take_over(self) -> _S | None:
        """Put new settings into force and return them as read, or None if they are refused."""
        try:
            wanted = read(type(self.now), self._argv, self._environ)
        except ConfigError as error:
            self._refuse(error.problems)
            return None
        kept = {name: getattr(self.now, name) for name in at_start(type(self.now))}
        new = wanted.model_copy(update=kept)
        swaps, wrong = self._prepared(new)
        if wrong:
            self._refuse(wrong)
            return None
        self.now = new
        for swap in swaps:
            swap()
        return wanted

    def _prepared(self, new: _S) -> tuple[list[Swap], list[str]]:
        swaps, wrong = list[Swap](), list[str]()
        for prepare in [self._check, *self._prepares]:
            try:
                swap = prepare(new)
            except ConfigError as error:
                wrong += error.problems
            else:
                swaps += [] if swap is None else [swap]
        return swaps, list(dict.fromkeys(wrong))

    def _refuse(self, problems: Sequence[str]) -> None:
        self._report(ReloadRefused(service=self.now.service, problems="; ".join(problems)))
