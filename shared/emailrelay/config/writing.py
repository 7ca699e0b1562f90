"""The writer of a settings file (TOML), for a service that reads it again."""

import json
from typing import Any

from emailrelay.config.options import Settings


def write(settings: Settings) -> str:
    """Return the text of a file with the given values of these settings, without the defaults."""
    given = settings.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return "".join(f"{name} = {_value(value)}\n" for name, value in given.items())


def _value(value: Any) -> str:
    """Return a value in TOML 1.0, with tables in line; otherwise it is almost JSON."""
    match value:
        case dict():
            pairs = [f"{_text(str(key))} = {_value(item)}" for key, item in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- values of any kind
            return f"{{{', '.join(pairs)}}}"
        case list():
            return f"[{', '.join(map(_value, value))}]"  # pyright: ignore[reportUnknownArgumentType] -- values of any kind
        case str():
            return _text(value)
        case _:
            return json.dumps(value)


def _text(text: str) -> str:
    # Without ensure_ascii=False, JSON has surrogate pairs, which TOML forbids. It forbids a bare DEL too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
