"""The variables of the environment that hold settings, and those of other programs.

Kubernetes gives every container variables about each service, and they begin with the name of the
service. A service named emailrelay has ``EMAILRELAY_PORT=tcp://10.0.0.1:25`` and others.
"""

import re
from collections.abc import Collection, Mapping

_PREFIX = "EMAILRELAY_"
_OTHERS = frozenset(
    {
        # Variables of filter programs (docs/filters.md), which may run commands of this package.
        "EMAILRELAY_ID",
        "EMAILRELAY_RUN",
        "EMAILRELAY_PORTABLE",  # linux.py
    }
)
_KUBERNETES = re.compile(
    r"EMAILRELAY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)"
)
_ADDRESS = ("tcp://", "udp://")


def variable(name: str) -> str:
    """Return the variable of a setting: ``spool_dir`` is ``EMAILRELAY_SPOOL_DIR``."""
    return _PREFIX + name.upper()


def name(variable: str) -> str:
    """Return the setting of a variable."""
    return variable.removeprefix(_PREFIX).lower()


def value(setting: str, environ: Mapping[str, str]) -> str | None:
    """Return the value of a setting in the environment, or None."""
    given = environ.get(variable(setting))
    return None if given is None or _is_foreign(variable(setting), given) else given


def unknown(environ: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """Return the variables with our prefix that are none of these settings, sorted."""
    known = set(map(variable, settings)) | _OTHERS
    return sorted(
        each
        for each, text in environ.items()
        if each.startswith(_PREFIX) and each not in known and not _is_foreign(each, text)
    )


def _is_foreign(variable: str, text: str) -> bool:
    if _KUBERNETES.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and text.startswith(_ADDRESS)
