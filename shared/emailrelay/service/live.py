"""The settings of a running service, read again at SIGHUP while its work goes on."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from emailrelay.config import Settings, at_start, read
from emailrelay.errors import ConfigError
from emailrelay.events import Reloaded, ReloadRefused, Report

_S = TypeVar("_S", bound=Settings)

Swap: TypeAlias = Callable[[], None]
"""Puts into force what was prepared: assigns, and cannot fail."""


class Live(Generic[_S]):
    """Settings that may change. Of new ones either all take effect or none.

    Give it to ``processes.run``, which lets SIGHUP reach it. Each process has its own: a supervisor
    reads first, and its workers follow only when the new settings are good, so that a worker started
    later begins with them too. Work reads ``now`` and calls ``on_change`` without awaiting anything in
    between, or it might miss a change.
    """

    def __init__(
        self,
        settings: _S,
        argv: Sequence[str] | None,
        *,
        report: Report,
        check: Callable[[_S], None] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Begin with settings that came from ``argv`` (None: the process's own) and ``environ``.

        ``check`` raises ConfigError for what is wrong beyond the settings themselves, such as a key
        file that cannot be read; a supervisor has nobody else to ask.
        """
        self.now = settings
        self._argv = tuple(sys.argv[1:] if argv is None else argv)
        self._environ = environ
        self._report = report
        self._check = check
        self._prepares: list[Callable[[_S], Swap]] = []

    def on_change(self, prepare: Callable[[_S], Swap]) -> None:
        """Have ``prepare`` called with new settings at each reload, changed or not.

        It makes what they mean and returns what puts that into force, or raises ConfigError to have
        them refused. It is called when the files that settings name may have changed, too.
        """
        self._prepares.append(prepare)

    def reload(self) -> bool:
        """Read all sources again; tell what changed, or everything that is wrong, and whether all is well."""
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
        """Take over what the supervisor has read, and told, already; tell only what is wrong now."""
        self._take_over()

    def _take_over(self) -> _S | None:
        """Put new settings into force; return them as they were read, None if they are refused."""
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
        try:
            if self._check is not None:
                self._check(new)
        except ConfigError as error:
            wrong += error.problems
        for prepare in self._prepares:
            try:
                swaps.append(prepare(new))
            except ConfigError as error:
                wrong += error.problems
        return swaps, list(dict.fromkeys(wrong))

    def _refuse(self, problems: Sequence[str]) -> None:
        self._report(ReloadRefused(service=self.now.service, problems="; ".join(problems)))
