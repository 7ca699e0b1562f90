"""What holds for all tests: none of them fails because the machine has other work."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest
from hypothesis import settings

from emailrelay import linux

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


_Factories: TypeAlias = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
_USUAL: _Factories = {"asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(item: pytest.Item) -> _Factories:
    """Let a module say with which loops its tests are to be run, each with all of them."""
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
