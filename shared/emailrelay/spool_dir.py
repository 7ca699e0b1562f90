"""The settings of a host that every command needs, read without ``emailrelay.config``.

That package's import is too slow for a program that sends mail. The rules are the same: a store
(``EMAILRELAY_STORE``, ``store`` in the file) comes before a spool directory
(``EMAILRELAY_SPOOL_DIR``, ``spool_dir`` in the file), the environment before the settings file
(``settings_file``), and the file before the built-in default.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple, cast

from emailrelay import settings_file
from emailrelay.errors import ConfigError
from emailrelay.settings_file import SettingsFile
from emailrelay.suggestions import suggest

_PREFIX = "EMAILRELAY_"
PACKAGED = "/var/spool/emailrelay"
_LOCAL = "/usr/local/var/spool/emailrelay"
_LARGEST_PORT = 65535
_NAMES = ("aliases", "config", "domain", "port", "spool_dir", "store", "store_fallback")
SMTP = 25
"""The receiver's port without a setting."""


def default() -> str:
    """Return the built-in default: the packaged directory if it exists, else the local one."""
    return PACKAGED if os.path.isdir(PACKAGED) else _LOCAL


class HostSettings(NamedTuple):
    """The settings of this host, from the environment and the settings file."""

    file: SettingsFile
    environ: Mapping[str, str]

    @property
    def store(self) -> str:
        """Return the store: a directory or a URL; of several databases, with spaces between."""
        if given := self.environ.get(f"{_PREFIX}STORE"):
            return given
        named = self.file.values.get("store")
        if named is not None:
            urls = cast("list[object]", named) if isinstance(named, list) else [named]
            texts = [url for url in urls if isinstance(url, str)]
            if len(texts) < len(urls):
                raise ConfigError([f"{self.file.place('store')}: must be a URL in quotes"])
            return " ".join(texts)
        return self.spool_dir

    @property
    def spool_dir(self) -> str:
        """Return the spool directory."""
        if given := self.environ.get(f"{_PREFIX}SPOOL_DIR"):
            return given
        named = self._text("spool_dir")
        return default() if named is None else os.path.abspath(named)

    @property
    def fallback(self) -> str | None:
        """Return the spool that takes mail while the store is unavailable, if there is one."""
        return self.environ.get(f"{_PREFIX}STORE_FALLBACK") or self._text("store_fallback")

    @property
    def domain(self) -> str | None:
        """Return the name of this host, if there is a setting for it."""
        return self.environ.get(f"{_PREFIX}DOMAIN") or self._text("domain")

    @property
    def aliases(self) -> object:
        """Return the table of aliases or its text, as it is given; None: there is none."""
        return self.environ.get(f"{_PREFIX}ALIASES") or self.file.values.get("aliases")

    @property
    def port(self) -> int:
        """Return the receiver's port on this host."""
        given = self.environ.get(f"{_PREFIX}PORT", "")
        if given.isdecimal():  # Kubernetes sets a variable of this name to a URL.
            return int(given) or SMTP
        named = self.file.values.get("port", SMTP)
        if type(named) is not int or not 0 <= named <= _LARGEST_PORT:
            raise ConfigError([f"{self.file.place('port')}: must be a number from 0 to 65535"])
        return named or SMTP

    def _text(self, name: str) -> str | None:
        named = self.file.values.get(name)
        if named is not None and (not isinstance(named, str) or not named):
            raise ConfigError([f"{self.file.place(name)}: must be a text in quotes"])
        return named


def host_settings(config: str | None = None) -> HostSettings:
    """Read the settings of this host; ``config``: the file that the command line names.

    Raises:
        SettingsUnreadable, ConfigError: see ``settings_file.read``. A property with a wrong value
            raises ConfigError too, and so does a variable that is probably a misspelt one of these.

    """
    wrong = misspelt(os.environ)
    if wrong:
        raise ConfigError(wrong)
    return HostSettings(settings_file.read(config, os.environ), os.environ)


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that is like one of these settings.

    No setting of a service is. The services name all variables that are not settings.
    """
    strange = {
        name.removeprefix(_PREFIX).lower(): name for name in environ if name.startswith(_PREFIX)
    }
    for known in _NAMES:
        strange.pop(known, None)
    return [
        f"{variable}: unknown variable; did you mean {_PREFIX}{meant.upper()}?"
        for name, variable in sorted(strange.items())
        if (meant := suggest(name, _NAMES))
    ]


def chosen(config: str | None = None) -> str:
    """Return the store of this host: a directory or a URL. See ``HostSettings.store``."""
    return host_settings(config).store


def fallback(config: str | None = None) -> str | None:
    """Return the spool that takes mail while the chosen store is unavailable, if there is one."""
    return host_settings(config).fallback
