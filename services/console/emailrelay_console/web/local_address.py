"""Addresses of this console that a request names: none leads to another site."""


def local(target: str, otherwise: str) -> str:
    """Return ``target`` if it is a path here, else ``otherwise``."""
    safe = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if safe and target.isascii() else otherwise
