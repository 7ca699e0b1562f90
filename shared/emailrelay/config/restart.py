"""Which settings count at the start only, so that a change of them waits for the next one."""

from functools import cache

from emailrelay.config.flags import metadata
from emailrelay.config.options import Settings
from emailrelay.config.values import AtStart


@cache
def at_start(settings: type[Settings]) -> frozenset[str]:
    """Return the names of the fields that are marked so in their declaration."""
    return frozenset(
        name
        for name, info in settings.model_fields.items()
        if any(isinstance(item, AtStart) for item in metadata(info))
    )
