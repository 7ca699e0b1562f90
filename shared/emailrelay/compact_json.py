"""Writes values as JSON without blanks, with one encoder for all values.

``JSONEncoder.encode`` makes an encoder in C for each value, which takes nearly as long as to write
a short one.
"""

from collections.abc import Callable
from contextlib import suppress
from json import JSONEncoder, encoder
from typing import Any


def json_writer(*, ascii_only: bool) -> Callable[[object], str]:
    """Return a function that writes a value, or raises as ``JSONEncoder.encode`` does.

    ``ascii_only``: other characters are escaped. A value must not contain itself.
    """
    usual = JSONEncoder(separators=(",", ":"), ensure_ascii=ascii_only)
    texts = encoder.encode_basestring_ascii if ascii_only else encoder.encode_basestring
    make: Any = getattr(encoder, "c_make_encoder", None)
    if make is not None:
        with suppress(TypeError):  # a later Python may make it in another way
            pieces = make(None, usual.default, texts, None, ":", ",", False, False, True)  # noqa: FBT003
            return lambda value: "".join(pieces(value, 0))
    return usual.encode
