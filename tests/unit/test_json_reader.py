"""Decoded JSON: each field has the type that its reader asks for, or the reader says what is wrong."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.json_reader import JsonReader
from models.json_types import Json, JsonObject

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
objects = st.dictionaries(st.text(max_size=5), values, max_size=5)


@given(objects, st.text(max_size=5))
def test_a_field_has_the_type_that_was_asked_for_or_is_refused(value: JsonObject, name: str) -> None:
    def read(method: str) -> object:
        try:
            return getattr(JsonReader(value), method)(name)
        except (KeyError, ValueError):
            return None

    assert isinstance(read("text"), str | None)
    assert isinstance(read("flag"), bool | None)
    assert isinstance(read("time"), datetime | None)
    assert isinstance(read("object"), dict | None)
    for method in ("whole", "number"):
        found = read(method)
        assert found is None or (isinstance(found, int | float) and not isinstance(found, bool))
    assert not isinstance(read("whole"), float)
    for method in ("texts", "wholes", "numbers", "text_rows", "number_rows", "items", "objects"):
        assert isinstance(read(method), list | tuple | None)


@given(objects)
def test_the_rest_is_what_nobody_has_taken_and_the_object_stays_as_it_is(value: dict[str, Json]) -> None:
    before = json.dumps(value)
    fields = JsonReader(value)
    assert fields.rest == value
    taken = next(iter(value), "")
    if value and fields.has(taken):
        with pytest.raises((KeyError, ValueError)):
            fields.time(taken)
    assert taken not in fields.rest or not value or value[taken] is None
    assert json.dumps(value) == before


def test_what_is_missing_or_null_has_the_default_and_is_an_error_without_one() -> None:
    absent: list[JsonObject] = [{}, {"a": None}]
    for value in absent:
        assert JsonReader(value).text("a", "x") == "x"
        assert JsonReader(value).whole("a", 0) == 0
        assert JsonReader(value).flag("a", default=False) is False
        assert JsonReader(value).number_or_none("a") is None
        assert JsonReader(value).time_or_none("a") is None
        assert (JsonReader(value).object("a"), JsonReader(value).texts("a")) == ({}, ())
        assert not JsonReader(value).has("a")
        with pytest.raises(KeyError, match="a"):
            JsonReader(value).whole("a")


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("text", 7, "a is int but must be a text"),
        ("whole", True, "a is bool but must be an integer"),
        ("whole", 1.5, "a is float but must be an integer"),
        ("number", "1", "a is str but must be a number"),
        ("number", False, "a is bool but must be a number"),
        ("flag", 1, "a is int but must be true or false"),
        ("object", [], "a is list but must be an object"),
        ("items", {}, "a is dict but must be a list"),
        ("texts", ["x", 1], "a is int but must be a text"),
        ("objects", [{}, "x"], "a is str but must be an object"),
        ("number_rows", [[1.0], [None]], "a is NoneType but must be a number"),
        ("texts_by_name", {"b": 1}, "b is int but must be a text"),
        ("numbers_by_name", {"b": "1"}, "b is str but must be a number"),
        ("time", "yesterday", "isoformat"),
    ],
)
def test_a_value_of_another_type_is_named(method: str, value: Json, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(JsonReader({"a": value}), method)("a")


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_only_an_object_has_fields(value: Json) -> None:
    with pytest.raises(ValueError, match="the value is .* but must be an object"):
        JsonReader(value)
