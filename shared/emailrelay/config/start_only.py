"""The settings that count at the start only: a change of them waits for the next start."""

from functools import cache

from emailrelay.config.flags import metadata
from emailrelay.config.options import Settings
from emailrelay.config.values import AtStart


@cache
def at_start(settings: type[Settings]) -> frozenset[str]:
    """Return the names of the fields whose declaration has the mark ``AtStart``."""
    return frozenset(
        name
        for name, info in settings.model_fields.items()
        if any(isinstance(item, AtStart) for item in metadata(info))
    )
