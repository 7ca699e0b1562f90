"""Rules for all tests: none fails because of the machine, its load or the way it was started."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pytest
from hypothesis import settings

from emailrelay import linux, settings_file

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Handle SIGINT as at a terminal; the processes that tests start inherit this.

    A shell makes programs in the background ignore SIGINT, and Python does not change that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o022)
    # The settings of this machine are not those of the tests, nor of the processes that they start.
    os.environ.setdefault(settings_file.VARIABLE, "")
    settings_file.looked_at = "/nonexistent/emailrelay.toml"


@pytest.fixture(autouse=True)
def _settings_file_of_the_tests() -> Iterator[None]:
    """Undo what a command in this process does: it names its settings file to its children."""
    before = os.environ[settings_file.VARIABLE]
    yield
    os.environ[settings_file.VARIABLE] = before


_Factories: TypeAlias = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
_USUAL: _Factories = {"asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(item: pytest.Item) -> _Factories:
    """Run each test of a module with all event loops that the module names."""
    if not isinstance(item, pytest.Function):
        return _USUAL
    factories: _Factories = getattr(item.module, "LOOP_FACTORIES", _USUAL)
    return factories


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of Linux's own calls where the fallbacks are used."""
    if not linux.AVAILABLE:
        for item in items:
            if item.get_closest_marker("linux"):
                item.add_marker(pytest.mark.skip(reason="about a call that only Linux has"))


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory with a short name: the path of a socket has 107 octets at most (unix(7))."""
    with TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)
