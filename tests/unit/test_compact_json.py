"""JSON without blanks: the same texts as those of the standard library."""

import json
from json import encoder
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay import compact_json
from emailrelay.compact_json import json_writer

_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_VALUES = st.recursive(_PLAIN, lambda some: st.lists(some) | st.dictionaries(st.text(), some))


@given(_VALUES, st.booleans())
def test_texts_are_those_of_the_standard_library(value: object, ascii_only: bool) -> None:  # noqa: FBT001
    expected = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
    assert json_writer(ascii_only=ascii_only)(value) == expected


@pytest.mark.parametrize("found", [None, lambda: None])
def test_without_the_encoder_in_c_the_usual_one_writes(
    monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    library = SimpleNamespace(
        encode_basestring_ascii=encoder.encode_basestring_ascii, c_make_encoder=found
    )
    monkeypatch.setattr(compact_json, "encoder", library)
    assert json_writer(ascii_only=True)({"a": [1, "é"]}) == '{"a":[1,"\\u00e9"]}'


def test_a_value_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError):
        json_writer(ascii_only=True)({"a": object()})
