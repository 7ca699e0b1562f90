"""The writer of a settings file (TOML), for a service that reads it again."""

import json
from typing import Any

from emailrelay.config.options import Settings
from emailrelay.toml_text import quoted


def write(settings: Settings) -> str:
    """Return the text of a file with the given values of these settings, without the defaults."""
    given = settings.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return "".join(f"{name} = {_value(value)}\n" for name, value in given.items())


def _value(value: Any) -> str:
    """Return a value in TOML 1.0, with tables in line; otherwise it is almost JSON."""
    match value:
        case dict():
            pairs = [f"{quoted(str(key))} = {_value(item)}" for key, item in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- values of any kind
            return f"{{{', '.join(pairs)}}}"
        case list():
            return f"[{', '.join(map(_value, value))}]"  # pyright: ignore[reportUnknownArgumentType] -- values of any kind
        case str():
            return quoted(value)
        case _:
            return json.dumps(value)
