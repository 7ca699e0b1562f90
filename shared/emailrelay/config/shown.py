"""Values of settings as people and logs may see them: without passwords."""

import re
from pathlib import Path
from typing import Any, TypeAlias

_IN_URL = re.compile(r"(?<=://)([^/?#@\s:]*):(?:(?!://).)*@", re.DOTALL)
"""A password may have a character that should be written as ``%2F``."""
_PARAMETER = re.compile(r"(?i)\b((?:ssl)?password|passwd|secret|token)=[^&#\s]*")
_MASK = "***"

Shown: TypeAlias = "bool | int | float | str | list[Shown] | dict[str, Shown] | None"
"""A value of JSON."""


def shown(value: Any) -> Shown:
    """Return a value for output, with ``***`` in place of the passwords in URLs."""
    match value:
        case bool() | int() | float() | None:
            return value
        case str():
            text = _IN_URL.sub(rf"\1:{_MASK}@", str(value))
            return _PARAMETER.sub(rf"\1={_MASK}", text) if "://" in text else text
        case Path():
            return str(value)
        case dict():
            return {str(key): shown(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- values of any kind
        case list() | tuple() | set() | frozenset():
            return [shown(item) for item in value]  # pyright: ignore[reportUnknownVariableType] -- values of any kind
        case _:
            return str(value)
