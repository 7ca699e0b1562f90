"""The default store of all commands, used without an option on the command line.

A store (``EMAILRELAY_STORE``, ``store`` in the file) comes before a spool directory
(``EMAILRELAY_SPOOL_DIR``, ``spool_dir`` in the file), the environment before the settings file that
it names (``EMAILRELAY_CONFIG``), and the file before the built-in default. Services and
``emailrelay`` read both through ``emailrelay.config``, whose import is too slow for a program that
sends mail.
"""

import errno
import os
from collections.abc import Mapping
from typing import cast

STORE = "EMAILRELAY_STORE"
FALLBACK = "EMAILRELAY_STORE_FALLBACK"
VARIABLE = "EMAILRELAY_SPOOL_DIR"
SETTINGS = "EMAILRELAY_CONFIG"
_PACKAGED = "/var/spool/emailrelay"
_LOCAL = "/usr/local/var/spool/emailrelay"


def default() -> str:
    """Return the built-in default: the packaged directory if it exists, else the local one."""
    return _PACKAGED if os.path.isdir(_PACKAGED) else _LOCAL


def chosen() -> str:
    """Return the store that the environment or its settings file names: a directory or a URL.

    Of several databases, the URLs have spaces between them.

    Raises:
        OSError: the settings file cannot be read, or is not TOML, or its store is no text.

    """
    store = os.environ.get(STORE)
    if store:
        return store
    path = os.environ.get(SETTINGS)
    file = _settings(path)
    named, directory = file.get("store"), file.get("spool_dir")
    if named is not None:
        urls = cast("list[object]", named) if isinstance(named, list) else [named]
        texts = [url for url in urls if isinstance(url, str)]
        if len(texts) < len(urls):
            raise OSError(errno.EINVAL, f"{SETTINGS} names a file whose store is no URL", path)
        return " ".join(texts)
    if from_environment := os.environ.get(VARIABLE):
        return from_environment
    return os.path.abspath(directory) if isinstance(directory, str) else default()


def fallback() -> str | None:
    """Return the spool that takes mail while the chosen store is away, if there is one.

    Raises:
        OSError: see ``chosen``.

    """
    named = os.environ.get(FALLBACK) or _settings(os.environ.get(SETTINGS)).get("store_fallback")
    return named if isinstance(named, str) else None


def _settings(path: str | None) -> Mapping[str, object]:
    if not path:
        return {}
    import tomllib  # noqa: PLC0415 -- only needed with a settings file

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except ValueError as error:
        raise OSError(
            errno.EINVAL, f"{SETTINGS} does not name a settings file: {error}", path
        ) from error
