"""The limit on the file descriptors of a process."""

import resource

ENOUGH = 65_536
"""For a process that starts programs: some close every descriptor that they may have."""


def raise_limit(most: int | None = None) -> None:
    """Let this process have as many descriptors as it is permitted, or ``most`` if that is less."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most is not None:
        unlimited = resource.RLIM_INFINITY
        wanted = most if hard == unlimited else min(most, hard)
        if unlimited == soft or soft >= wanted:
            return
    else:
        wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
