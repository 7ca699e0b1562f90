"""Settings written as a settings file (TOML), for a service that is to read them again."""

import json
from typing import Any

from emailrelay.config.options import Settings


def write(settings: Settings) -> str:
    """Return the text of a file that says what these settings were given; defaults are left out."""
    given = settings.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return "".join(f"{name} = {_value(value)}\n" for name, value in given.items())


def _value(value: Any) -> str:
    """Return a value in TOML 1.0, tables in line; for the rest it differs little from JSON."""
    match value:
        case dict():
            pairs = [f"{_text(str(key))} = {_value(item)}" for key, item in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- of whatever kinds
            return f"{{{', '.join(pairs)}}}"
        case list():
            return f"[{', '.join(map(_value, value))}]"  # pyright: ignore[reportUnknownArgumentType] -- of whatever kinds
        case str():
            return _text(value)
        case _:
            return json.dumps(value)


def _text(text: str) -> str:
    # Not ASCII only: JSON's surrogate pairs are no TOML, and neither is a bare DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
