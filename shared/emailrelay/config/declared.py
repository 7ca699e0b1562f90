"""The base of all declarations of settings, and the descriptions in them."""

import ast
import inspect
import os
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"


class Declared(BaseModel):
    """Settings as fields, each with a docstring under it."""

    # Most declarations are only parts of a service's, so none is built before it is used.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)


def build(declaration: type[Declared]) -> None:
    """Build the validator of a declaration, unless it exists."""
    # Otherwise pydantic looks for plugins in every installed package.
    before = os.environ.get(_PLUGINS)
    os.environ[_PLUGINS] = "__all__"
    try:
        declaration.model_rebuild()
    finally:
        del os.environ[_PLUGINS]
        if before is not None:
            os.environ[_PLUGINS] = before


@cache
def texts(declaration: type[BaseModel]) -> Mapping[str, str]:
    """Return the text under each field, by name and in one line.

    Pydantic can do this (``use_attribute_docstrings``), but it does so for every class and at every
    start. That took longer than the rest of the settings.
    """
    found: dict[str, str] = {}
    for base in reversed(declaration.__mro__):
        if issubclass(base, Declared):
            found |= _own(base)
    return found


def _own(declaration: type[BaseModel]) -> dict[str, str]:
    try:
        (statement,) = ast.parse(inspect.getsource(declaration)).body
    except OSError:  # Without sources, the help has no texts.
        return {}
    found: dict[str, str] = {}
    if isinstance(statement, ast.ClassDef):
        for field, below in pairwise(statement.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(name)),
                    ast.Expr(ast.Constant(str(text))),
                ):
                    found[name] = " ".join(text.split())
                case _:
                    pass
    return found
