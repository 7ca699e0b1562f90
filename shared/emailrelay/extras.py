"""The extras of the distribution: packages that few installations need."""

import sys


def advice(extra: str) -> str:
    """Return how to install an extra into the environment of this program."""
    return f"in the checkout, run {sys.prefix}/bin/pip install '.[{extra}]'"
