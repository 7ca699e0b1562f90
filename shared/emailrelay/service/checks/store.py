"""Checks that a service can use its store, without a change to it."""

import asyncio
from collections.abc import Iterator

from emailrelay import spool_owner
from emailrelay.config import Settings
from emailrelay.config.findings import SettingFinding, warning
from emailrelay.errors import RelayError
from emailrelay.events.event import report_nothing
from emailrelay.store.chooser import open_store, spool_at, spool_trouble

_PATIENCE = 20.0
"""Seconds for a database."""


def check(
    settings: Settings, *, fallback: str | None = None, minimum_free: int = 0
) -> Iterator[SettingFinding]:
    """Yield what keeps a service from its store. Root looks with the rights of the spool's owner.

    ``fallback``: the spool that takes mail while the database is unavailable. ``minimum_free``: the
    octets that must be free for new mail.
    """
    setting = "spool_dir" if settings.store is None else "store"
    spool = spool_at(settings.store_place)
    if spool is not None:
        yield from _spool(setting, str(spool), minimum_free)
    if fallback is not None:
        yield from _fallback(settings, fallback, minimum_free)
    if spool is None:
        yield from _database(setting, settings, fallback)


def _fallback(settings: Settings, fallback: str, minimum_free: int) -> Iterator[SettingFinding]:
    try:
        open_store(settings.store_place, report=report_nothing, looking=True, fallback=fallback)
    except RelayError as error:
        yield SettingFinding("store_fallback", str(error))
    else:
        yield from _spool("store_fallback", str(spool_at(fallback)), minimum_free)


def _spool(setting: str, spool: str, minimum_free: int) -> Iterator[SettingFinding]:
    try:
        with spool_owner.acting(spool):
            trouble = spool_trouble(spool, minimum_free)
    except RelayError as error:
        yield SettingFinding(setting, str(error))
        return
    for text in trouble.problems:
        yield SettingFinding(setting, text)
    for text in trouble.warnings:
        yield warning(setting, text)


def _database(setting: str, settings: Settings, fallback: str | None) -> Iterator[SettingFinding]:
    async def open_and_close() -> None:
        async with asyncio.timeout(_PATIENCE):
            store = open_store(settings.store_place, report=report_nothing, looking=True)
            async with store:
                pass

    try:
        asyncio.run(open_and_close())
    except TimeoutError:
        yield SettingFinding(setting, f"no answer within {_PATIENCE:g} s; start the database")
    except RelayError as error:
        if error.temporary and fallback is not None:
            yield warning(setting, f"{error}; new mail goes to store_fallback meanwhile")
        else:
            yield SettingFinding(setting, str(error))
