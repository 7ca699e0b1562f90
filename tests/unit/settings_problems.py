"""A settings file for a test, and the problems that its reader finds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from emailrelay.config import Settings, read
from emailrelay.errors import ConfigError

SMARTHOST = "--forward-to=127.0.0.1:25"


def problems(
    settings: type[Settings], argv: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(settings, argv, environ or {})
    return caught.value.problems


def write(folder: Path, text: str) -> str:
    path = folder / "relay.toml"
    path.write_text(text)
    return str(path)
